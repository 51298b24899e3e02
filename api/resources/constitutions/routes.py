"""Constitutions: list and show them, propose a change of the active one, vote, revoke.

A proposal starts a workflow: signatures, proofs, comparison, votes, activation. Nothing changes before the activation.
"""

from typing import Annotated

from fastapi import Path, Query, Response

from api.access import ConstitutionApprover, ConstitutionProposer, ConstitutionRevoker, PolicyReader
from api.deps import StateDep
from api.middleware.problems import resource_router, responses
from api.parameters import KEY, Cursor, DigestPath, PageLimit
from api.parameters import IdempotencyKey as Key
from api.resources.constitutions import service
from api.resources.constitutions.schemas import (
    SCOPE,
    ConstitutionPage,
    ConstitutionResponse,
    PromotionRequest,
    ProposalRequest,
    RevocationRequest,
    RevocationResponse,
    RollbackRequest,
    VoteRequest,
)
from capsules.base_model import Page
from capsules.constitutions.proposal import ActivationRecord, ShadowReport

router = resource_router("/v1/constitutions", "constitutions")

ActivationId = Annotated[str, Path(pattern=KEY, examples=["k1"])]


@router.post("", status_code=202, responses=responses(404, 409))
async def propose_constitution(
    body: ProposalRequest,
    response: Response,
    caller: ConstitutionProposer,
    state: StateDep,
    idempotency_key: Key = None,
) -> ActivationRecord:
    """Propose a constitution. It becomes active when it is proved and approved. `Location` is the activation's URL."""
    change = await service.proposed_change(state, caller, body)
    return _with_location(response, await service.propose(state, caller, change, idempotency_key))


@router.get("")
async def list_constitutions(caller: PolicyReader, state: StateDep) -> ConstitutionPage:
    """List the constitutions that the caller's tenant may see, newest first, with the active one and the history."""
    return await service.list_visible(state, caller)


@router.get("/shadow")
async def show_shadow(caller: PolicyReader, state: StateDep) -> ShadowReport:
    """Show how often the shadow would have decided differently from the active constitution, with examples."""
    return await service.shadow_report(state, caller)


@router.delete("/shadow", status_code=204)
async def end_shadow(
    caller: ConstitutionProposer, state: StateDep, scope: Annotated[str | None, Query(pattern=SCOPE)] = None
) -> None:
    """Remove the shadow of a scope. Its decisions stay in the receipts."""
    wanted = service.permitted_scope(state, caller, scope)
    async with state.db.transaction(caller.tenant) as tx:
        await tx.proposals.end_shadow(wanted, by=caller.subject)


@router.get("/activations")
async def list_activations(
    caller: PolicyReader, state: StateDep, cursor: Cursor = None, limit: PageLimit = 50
) -> Page[ActivationRecord]:
    """List the activations that the caller's tenant proposed, newest first."""
    async with state.db.transaction(caller.tenant) as tx:
        return await tx.proposals.list(cursor, limit)


@router.get("/activations/{activation}", responses=responses(404))
async def show_activation(activation: ActivationId, caller: PolicyReader, state: StateDep) -> ActivationRecord:
    """Show the state of an activation: proofs, difference, votes, and the number of votes that are missing."""
    async with state.db.transaction(caller.tenant) as tx:
        return await tx.proposals.get(activation)


@router.post("/activations/{activation}/approve", responses=responses(404, 409))
async def approve_activation(
    activation: ActivationId, caller: ConstitutionApprover, state: StateDep, body: VoteRequest | None = None
) -> ActivationRecord:
    """Approve an activation. The principal who proposed it cannot."""
    return await service.cast_vote(state, caller, activation, body or VoteRequest(), approve=True)


@router.post("/activations/{activation}/reject", responses=responses(404, 409))
async def reject_activation(
    activation: ActivationId, caller: ConstitutionApprover, state: StateDep, body: VoteRequest | None = None
) -> ActivationRecord:
    """Reject an activation. The active constitution does not change."""
    return await service.cast_vote(state, caller, activation, body or VoteRequest(), approve=False)


@router.post("/rollback", status_code=202, responses=responses(404, 409))
async def roll_back(
    body: RollbackRequest,
    response: Response,
    caller: ConstitutionProposer,
    state: StateDep,
    idempotency_key: Key = None,
) -> ActivationRecord:
    """Propose a constitution that was active before. It is proved and approved like any other change."""
    change = await service.rollback_change(state, caller, body)
    return _with_location(response, await service.propose(state, caller, change, idempotency_key))


@router.post("/promote", status_code=202, responses=responses(404, 409))
async def promote(
    body: PromotionRequest,
    response: Response,
    caller: ConstitutionProposer,
    state: StateDep,
    idempotency_key: Key = None,
) -> ActivationRecord:
    """Propose the canary of one tenant for all tenants."""
    change = await service.promotion_change(state, caller, body.scope)
    return _with_location(response, await service.propose(state, caller, change, idempotency_key))


@router.get("/{digest}", responses=responses(404))
async def show_installed(digest: DigestPath, caller: PolicyReader, state: StateDep) -> ConstitutionResponse:
    """Show a constitution: document, digests, signatures, the scopes where it was active, and its activations."""
    return await service.show(state, caller, digest)


@router.post("/{digest}/revoke", responses=responses(404))
async def revoke_constitution(
    digest: DigestPath, caller: ConstitutionRevoker, state: StateDep, body: RevocationRequest | None = None
) -> RevocationResponse:
    """Revoke a constitution. It takes effect at once and cannot be undone: its runs stop at their next action."""
    return await service.revoke(state, caller, digest, (body or RevocationRequest()).reason)


def _with_location(response: Response, record: ActivationRecord) -> ActivationRecord:
    response.headers["Location"] = f"/v1/constitutions/activations/{record.id}"
    return record
