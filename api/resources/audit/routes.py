"""The audit: who changed what, and everything that was sealed, for whoever wants to check it without trusting us."""

from typing import Annotated

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from api.access import AuditReader
from api.deps import Cursor, PageLimit, Soma
from api.middleware.bodies import StorableJsonRoute
from api.middleware.problems import responses
from api.run_urls import RunPath, require_own
from capsules.audit.audit_blocks import Block, Inclusion
from capsules.audit.auditor import AuditEntry, Record
from capsules.base_model import FrozenModel, Page
from somagent.identity.keys import KeyPurpose

router = APIRouter(prefix="/v1/audit", tags=["audit"], route_class=StorableJsonRoute)

SHOWN: tuple[KeyPurpose, ...] = ("sealer", "publisher", "constitution")
AfterHeight = Annotated[int, Query(ge=0, le=2**53 - 1, description="Height to go on after.")]
AfterSeq = Annotated[int, Query(ge=0, le=2**53 - 1, description="Sequence number to go on after.")]
Many = Annotated[int, Query(ge=1, le=5000, description="Most to return.")]


class AuditStatus(FrozenModel):
    """How far the record is sealed."""

    height: int = Field(description="Of the newest block.")
    leaves: int = Field(description="Sealed records: the last number of the tenant's sequence.")
    waiting: int = Field(description="Recorded and not sealed yet: what the last second brought.")
    strays: tuple[str, ...] = Field(
        description="The first records in no block that wait for none: somebody added them."
    )


class BlockPage(BaseModel):
    """A part of the chain of blocks."""

    items: tuple[Block, ...]
    next: int | None = Field(None, description="`after` of the following part.")


class Records(BaseModel):
    """A part of what was sealed, in the order of the tenant's sequence."""

    items: tuple[Record, ...]
    next: int | None = Field(None, description="`after` of the following part.")


class Inclusions(BaseModel):
    """Proofs that a run's receipts are in blocks, with those blocks."""

    proofs: tuple[Inclusion, ...]
    blocks: tuple[Block, ...]


class PublicKeys(BaseModel):
    """The public keys that check the record. An auditor has them from elsewhere than the API that is audited."""

    keys: dict[str, str] = Field(description="PEM by key id: of the sealer, the publisher, and constitutions.")


@router.get("/entries", responses=responses())
async def list_entries(  # noqa: PLR0913, PLR0917 - a parameter for each filter
    caller: AuditReader,
    soma: Soma,
    action: Annotated[str | None, Query(max_length=100, description="Only this action.")] = None,
    subject: Annotated[str | None, Query(max_length=255, description="Only this subject.")] = None,
    cursor: Cursor = None,
    limit: PageLimit = 50,
) -> Page[AuditEntry]:
    """List changes of what decides over runs, newest first."""
    async with soma.db.transaction(caller.tenant) as tx:
        return await tx.audit.list(action, subject, cursor, limit)


@router.get("/status", responses=responses())
async def show_status(caller: AuditReader, soma: Soma) -> AuditStatus:
    """Show how far the record is sealed, and what is in it without a seal."""
    async with soma.db.transaction(caller.tenant) as tx:
        found = await tx.audit.status()
    return AuditStatus(height=found.height, leaves=found.leaves, waiting=found.waiting, strays=tuple(found.strays))


@router.get("/blocks", responses=responses())
async def list_blocks(caller: AuditReader, soma: Soma, after: AfterHeight = 0, limit: PageLimit = 100) -> BlockPage:
    """List signed blocks in the order of their heights."""
    async with soma.db.transaction(caller.tenant) as tx:
        items = await tx.audit.blocks(after, limit)
    return BlockPage(items=items, next=items[-1].height if len(items) == limit else None)


@router.get("/records", responses=responses())
async def list_records(caller: AuditReader, soma: Soma, after: AfterSeq = 0, limit: Many = 1000) -> Records:
    """List what was sealed: each leaf, and its record's canonical text as it was hashed."""
    async with soma.db.transaction(caller.tenant) as tx:
        items = await tx.audit.records(after, limit)
    return Records(items=items, next=items[-1].leaf.seq if len(items) == limit else None)


@router.get("/runs/{run}/inclusions", responses=responses(404))
async def prove_inclusions(run: RunPath, caller: AuditReader, soma: Soma) -> Inclusions:
    """Prove that each sealed receipt of a run is in its block. The newest may wait for the sealer yet."""
    require_own(run, caller)
    async with soma.db.transaction(caller.tenant) as tx:
        await tx.runs.get(run)
        proofs = await tx.audit.inclusions(run)
        return Inclusions(proofs=proofs, blocks=await tx.audit.blocks_at({proof.height for proof in proofs}))


@router.get("/keys", responses=responses())
async def list_keys(_: AuditReader, soma: Soma) -> PublicKeys:
    """List the public keys that check the record. Compare them with those that you were given by hand."""
    return PublicKeys(
        keys={
            key_id: key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
            for purpose in SHOWN
            for key_id, key in soma.keyring.public[purpose].items()
        }
    )
