"""The first schema: tables, row-level security, grants, and the gate's functions.

Revision ID: 0001
"""

from somagent.db.schema.migrate import run_script

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_script(__file__)


def downgrade() -> None:
    """Refuse: what would be dropped is the record of what agents did."""
    raise NotImplementedError("There is nothing below the first schema. Restore a backup, or drop the database.")
