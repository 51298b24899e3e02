"""The first schema: tables, row-level security, grants, and the gate's functions.

Revision ID: 0001
"""

from somagent.store.migrations import scripts

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

FILES = (
    "tables.sql",
    "constitutions.sql",
    "audit_tables.sql",
    "forecasts.sql",
    "retention_tables.sql",
    "security.sql",
    "seals.sql",
    "forecasts_security.sql",
    "receipts.sql",
    "constitution_steps.sql",
    "accounts.sql",
    "periods.sql",
    "wall_clock.sql",
    "conservation.sql",
    "standing.sql",
    "approvals.sql",
    "history.sql",
    "gate_begin.sql",
    "gate_finish.sql",
    "closing.sql",
    "audit_changes.sql",
    "retention.sql",
    "planning.sql",
)


def upgrade() -> None:
    for name in FILES:
        scripts.run(name)


def downgrade() -> None:
    """Refuse: what would be dropped is the record of what agents did."""
    raise NotImplementedError("There is nothing below the first schema. Restore a backup, or drop the database.")
