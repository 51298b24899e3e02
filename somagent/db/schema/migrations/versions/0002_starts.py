"""Starts of runs that are used once, and start authorities that can be revoked.

Revision ID: 0002
"""

from somagent.db.schema.migrate import run_script

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_script(__file__)


def downgrade() -> None:
    """Refuse: a start that was used or revoked must stay so."""
    raise NotImplementedError("A used start must not become usable again. Restore a backup, or drop the database.")
