"""The ledger and admitted runs are in audit blocks, and the application's role writes by functions only.

Revision ID: 0004
"""

from somagent.db.schema.migrate import run_script

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_script(__file__)


def downgrade() -> None:
    """Refuse: records cannot be taken out of the audit blocks."""
    raise NotImplementedError(
        "The audit blocks contain records that the schema before did not put there. Restore a backup."
    )
