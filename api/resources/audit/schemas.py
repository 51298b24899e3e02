"""Response bodies of the audit routes."""

from pydantic import Field

from capsules.audit.audit_blocks import Block, Inclusion
from capsules.base_model import FrozenModel


class AuditStatusResponse(FrozenModel):
    """Which part of the audit record is in signed blocks."""

    height: int = Field(description="Height of the newest block.")
    leaves: int = Field(description="Number of records in blocks; the last number of the tenant's sequence.")
    waiting: int = Field(description="Number of records that wait for the next block.")
    strays: tuple[str, ...] = Field(
        description="The first records that are in no block and do not wait for one: they were not written by SomaGent."
    )


class InclusionsResponse(FrozenModel):
    """Inclusion proofs of a run's receipts, with the blocks that contain them."""

    proofs: tuple[Inclusion, ...]
    blocks: tuple[Block, ...]


class PublicKeysResponse(FrozenModel):
    """Public keys that verify signatures. An auditor must get them from another source and compare."""

    keys: dict[str, str] = Field(description="PEM text by key id, for the sealer, the publisher and constitutions.")
