"""The cut-over to bound payloads: which workflows were open before.

Revision ID: 0003
"""

from somagent.db.schema.migrate import run_script

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_script(__file__)


def downgrade() -> None:
    """Refuse: without the list, the payloads of open runs could no longer be read."""
    raise NotImplementedError("The cut-over is not undone. Restore a backup.")
