"""Attestations: recorded with each decision of a person, verified before it counts.

Revision ID: 0005
"""

from somagent.db.schema.migrate import run_script

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_script(__file__)


def downgrade() -> None:
    """Refuse: what would be dropped is the record of what agents did."""
    raise NotImplementedError("Attestations are a part of the record. Restore a backup, or drop the database.")
