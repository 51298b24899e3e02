"""Principals, API keys, tokens and tenants that can be listed, suspended, revoked and rotated.

Revision ID: 0006
"""

from somagent.db.schema.migrate import run_script

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_script(__file__)


def downgrade() -> None:
    """Refuse: what would be dropped is the record of what agents did."""
    raise NotImplementedError("Revocations would be lost. Restore a backup instead.")
