"""Audit: entries about changes, signed blocks and their records, inclusion proofs, and the public keys."""

from typing import Annotated, Any

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from fastapi import Query
from pydantic import Field

from api.access import AuditReader
from api.deps import StateDep
from api.middleware.problems import resource_router, responses
from api.parameters import After, Cursor, PageLimit, SequencePage, sequence_page
from api.resources.audit.service import result_digests
from api.run_urls import RunPath, require_own
from capsules.audit.audit_blocks import Block, Inclusion
from capsules.audit.auditor import AuditEntry, Record
from capsules.audit.ledger_audit import ShownAccount
from capsules.audit.projections import ShownRun
from capsules.base_model import FrozenModel, Page, StrictModel
from capsules.digest import Digest
from somagent.db.repositories.attestations import AttestationRecord
from somagent.identity.keys import KeyPurpose

router = resource_router("/v1/audit", "audit")

PUBLISHED_KEYS: tuple[KeyPurpose, ...] = ("sealer", "publisher", "constitution", "issuer")


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


class ResultsRequest(StrictModel):
    """Results of completed activities, as a Temporal history has them."""

    results: dict[str, dict[str, Any]] = Field(max_length=10_000, description="Payload in JSON by activity id.")


class ResultsResponse(FrozenModel):
    """Digests of activity results, as the outcome receipts of the run must have them."""

    digests: dict[str, Digest | None] = Field(
        description="By activity id. None: it cannot be judged, as it is from before payloads were bound to their run, "
        "or of a governed application. Left out: no worker of this installation wrote it."
    )


class PublicKeysResponse(FrozenModel):
    """Public keys that verify signatures. An auditor must get them from another source and compare."""

    keys: dict[str, str] = Field(description="PEM text by key id, for the sealer, publisher, constitutions and issuer.")


@router.get("/entries")
async def list_entries(  # noqa: PLR0913, PLR0917 - a parameter for each filter
    caller: AuditReader,
    state: StateDep,
    action: Annotated[str | None, Query(max_length=100, description="Only entries of this action.")] = None,
    subject: Annotated[str | None, Query(max_length=255, description="Only entries about this subject.")] = None,
    cursor: Cursor = None,
    limit: PageLimit = 50,
) -> Page[AuditEntry]:
    """List the changes to what governs runs, newest first."""
    async with state.db.transaction(caller.tenant) as tx:
        return await tx.audit.list(action, subject, cursor, limit)


@router.get("/status")
async def show_status(caller: AuditReader, state: StateDep) -> AuditStatusResponse:
    """Show how many records are in signed blocks, how many wait, and which are in no block."""
    async with state.db.transaction(caller.tenant) as tx:
        status = await tx.audit.status()
    return AuditStatusResponse.model_validate(status, from_attributes=True)


@router.get("/blocks")
async def list_blocks(
    caller: AuditReader, state: StateDep, after: After = 0, limit: PageLimit = 100
) -> SequencePage[Block]:
    """List signed blocks in the order of their heights."""
    async with state.db.transaction(caller.tenant) as tx:
        return sequence_page(await tx.audit.blocks(after, limit), limit, lambda block: block.height)


@router.get("/records")
async def list_records(
    caller: AuditReader,
    state: StateDep,
    after: After = 0,
    limit: Annotated[int, Query(ge=1, le=5000, description="Maximum number of records in the page.")] = 1000,
) -> SequencePage[Record]:
    """List the records in blocks, in sequence: each leaf with the canonical text that was hashed."""
    async with state.db.transaction(caller.tenant) as tx:
        return sequence_page(await tx.audit.records(after, limit), limit, lambda record: record.leaf.seq)


SealedPart = Annotated[
    int, Query(ge=0, le=2**53 - 1, description="Number of the last record that you have read: `leaves` of the status.")
]
AfterId = Annotated[str, Query(max_length=400, description="Id of the last item of the previous page.")]


@router.get("/accounts")
async def list_accounts(
    caller: AuditReader, state: StateDep, sealed: SealedPart = 0, after: AfterId = "", limit: PageLimit = 500
) -> tuple[ShownAccount, ...]:
    """List budget accounts by id as their rows show them, with the ledger entries after the part that you have read."""
    async with state.db.transaction(caller.tenant) as tx:
        return await tx.audit.accounts(after, sealed=sealed, limit=limit)


@router.get("/runs")
async def list_runs(  # noqa: PLR0913, PLR0917 - a parameter for each filter
    caller: AuditReader,
    state: StateDep,
    sealed: SealedPart = 0,
    only: Annotated[str | None, Query(max_length=400, description="Only the run with this id.")] = None,
    after: AfterId = "",
    limit: PageLimit = 500,
) -> tuple[ShownRun, ...]:
    """List runs by id as their rows show them, with the closing receipt if it is after the part that you have read."""
    async with state.db.transaction(caller.tenant) as tx:
        return await tx.audit.runs(after, sealed=sealed, only=only, limit=limit)


@router.get("/attestations")
async def list_attestations(
    caller: AuditReader, state: StateDep, after: After = 0, limit: PageLimit = 100
) -> SequencePage[AttestationRecord]:
    """List the signed attestations of people's decisions. Each was used once; an auditor verifies the signatures."""
    async with state.db.transaction(caller.tenant) as tx:
        return sequence_page(await tx.attestations.after(after, limit), limit, lambda one: one.number)


@router.get("/runs/{run}/inclusions", responses=responses(404))
async def prove_inclusions(run: RunPath, caller: AuditReader, state: StateDep) -> InclusionsResponse:
    """Prove that the receipts of a run are in signed blocks. The newest receipts may still wait for the sealer."""
    require_own(run, caller)
    async with state.db.transaction(caller.tenant) as tx:
        await tx.runs.get(run)
        proofs = await tx.audit.inclusions(run)
        return InclusionsResponse(proofs=proofs, blocks=await tx.audit.blocks_at({proof.height for proof in proofs}))


@router.post("/runs/{run}/results", responses=responses(404))
async def digest_results(
    run: RunPath, request: ResultsRequest, caller: AuditReader, state: StateDep
) -> ResultsResponse:
    """Return the digest of each activity result of a run's Temporal history that a worker wrote."""
    require_own(run, caller)
    async with state.db.transaction(caller.tenant) as tx:
        await tx.runs.get(run)
    return ResultsResponse(digests=await result_digests(state, caller.tenant, run, request.results))


@router.get("/keys")
async def list_keys(_: AuditReader, state: StateDep) -> PublicKeysResponse:
    """List the public keys that verify the signatures. Compare them with keys that you got from another source."""
    return PublicKeysResponse(
        keys={
            key_id: key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
            for purpose in PUBLISHED_KEYS
            for key_id, key in state.keyring.public[purpose].items()
        }
    )
