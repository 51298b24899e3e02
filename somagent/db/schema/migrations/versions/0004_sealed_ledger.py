"""The ledger and admitted runs are sealed, and the application's role writes by functions only.

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
    """Refuse: records that are sealed cannot be taken out of the audit blocks."""
    raise NotImplementedError("Records are sealed that the schema before did not seal. Restore a backup.")
