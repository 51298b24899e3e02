"""Constitutions: the installed and active ones, proposals to change the active one, and votes.

A proposal starts a workflow: signatures, proofs, comparison, votes, activation. Until its end nothing changes.
"""

from typing import Annotated

from fastapi import APIRouter, Header, Path, Query, Response

from api import run_urls
from api.access import ConstitutionApprover, ConstitutionProposer, ConstitutionRevoker, PolicyReader
from api.deps import Cursor, PageLimit, Soma
from api.middleware.bodies import StorableJsonRoute
from api.middleware.problems import responses
from api.resources.constitutions import service
from api.resources.constitutions.schemas import (
    SCOPE,
    Comment,
    ConstitutionDetail,
    ConstitutionPage,
    Promote,
    Propose,
    Revoked,
    RollBack,
    Why,
)
from capsules.base_model import Page
from capsules.constitutions.proposal import EVERYBODY, ActivationRecord, ShadowReport
from capsules.digest import Digest

router = APIRouter(prefix="/v1/constitutions", tags=["constitutions"], route_class=StorableJsonRoute)

DigestPath = Annotated[Digest, Path(alias="digest", pattern=run_urls.DIGEST)]
ActivationId = Annotated[str, Path(alias="activation", pattern=run_urls.KEY, examples=["k1"])]
IdempotencyKey = Annotated[
    str | None,
    Header(pattern=run_urls.KEY, description="The same key with the same request is the same activation."),
]


@router.post("", status_code=202, responses=responses(404, 409))
async def propose_constitution(
    body: Propose, response: Response, caller: ConstitutionProposer, soma: Soma, idempotency_key: IdempotencyKey = None
) -> ActivationRecord:
    """Propose a constitution. It becomes active when it is proved and approved: watch it at Location."""
    change = await service.proposed_change(soma, caller, body)
    return await service.propose(soma, caller, change, idempotency_key, response)


@router.get("", responses=responses())
async def list_constitutions(caller: PolicyReader, soma: Soma) -> ConstitutionPage:
    """List the constitutions that concern the caller's tenant, newest first, with the active ones and their history."""
    db = soma.db.constitutions
    digests, history = await service.concerning(soma, caller)
    return ConstitutionPage(
        active=await db.active_digest(caller.tenant),
        shadow=await db.active_digest(caller.tenant, "shadow"),
        items=await db.list(digests),
        history=history,
    )


@router.get("/shadow", responses=responses())
async def show_shadow(caller: PolicyReader, soma: Soma) -> ShadowReport:
    """Count how often the shadow would have decided differently from the active constitution, with examples."""
    return await service.shadow_report(soma, caller)


@router.delete("/shadow", status_code=204, responses=responses())
async def end_shadow(
    caller: ConstitutionProposer, soma: Soma, scope: Annotated[str | None, Query(pattern=SCOPE)] = None
) -> None:
    """Remove the shadow of a scope. The receipts keep what it would have decided."""
    wanted = service.own_scope(soma, caller, scope)
    async with soma.db.transaction(caller.tenant) as tx:
        await tx.proposals.end_shadow(wanted, by=caller.subject)


@router.get("/activations", responses=responses())
async def list_activations(
    caller: PolicyReader, soma: Soma, cursor: Cursor = None, limit: PageLimit = 50
) -> Page[ActivationRecord]:
    """List what the caller's tenant proposed, newest first."""
    async with soma.db.transaction(caller.tenant) as tx:
        return await tx.proposals.list(cursor, limit)


@router.get("/activations/{activation}", responses=responses(404))
async def show_activation(activation: ActivationId, caller: PolicyReader, soma: Soma) -> ActivationRecord:
    """Show how far it is: proofs, difference, who approved, and how many are missing."""
    async with soma.db.transaction(caller.tenant) as tx:
        return await tx.proposals.get(activation)


@router.post("/activations/{activation}/approve", responses=responses(404, 409))
async def approve_activation(
    activation: ActivationId, caller: ConstitutionApprover, soma: Soma, body: Comment | None = None
) -> ActivationRecord:
    """Approve an activation. The principal who proposed it cannot."""
    return await service.cast_vote(soma, caller, activation, body or Comment(), approve=True)


@router.post("/activations/{activation}/reject", responses=responses(404, 409))
async def reject_activation(
    activation: ActivationId, caller: ConstitutionApprover, soma: Soma, body: Comment | None = None
) -> ActivationRecord:
    """Reject an activation. The active constitution stays."""
    return await service.cast_vote(soma, caller, activation, body or Comment(), approve=False)


@router.post("/rollback", status_code=202, responses=responses(404, 409))
async def roll_back(
    body: RollBack, response: Response, caller: ConstitutionProposer, soma: Soma, idempotency_key: IdempotencyKey = None
) -> ActivationRecord:
    """Propose a constitution that was active before. It is proved and approved like any other change."""
    change = await service.rollback_change(soma, caller, body)
    return await service.propose(soma, caller, change, idempotency_key, response)


@router.post("/promote", status_code=202, responses=responses(404, 409))
async def promote(
    body: Promote, response: Response, caller: ConstitutionProposer, soma: Soma, idempotency_key: IdempotencyKey = None
) -> ActivationRecord:
    """Propose the canary of one tenant for all tenants."""
    change = await service.promotion_change(soma, caller, body.scope)
    return await service.propose(soma, caller, change, idempotency_key, response)


@router.get("/{digest}", responses=responses(404))
async def show_installed(digest: DigestPath, caller: PolicyReader, soma: Soma) -> ConstitutionDetail:
    """Show a constitution: document, digests, signatures, where it was active, and its proofs."""
    record = await service.visible(soma, caller, digest)
    scopes = () if service.is_platform(soma, caller) else (EVERYBODY, caller.tenant)
    async with soma.db.transaction(caller.tenant) as tx:
        activations = await tx.proposals.list(limit=50, of=record.digest)
    history = await soma.db.constitutions.history(*scopes, of=record.digest)
    return ConstitutionDetail(constitution=record, history=history, activations=activations.items)


@router.post("/{digest}/revoke", responses=responses(404))
async def revoke_constitution(
    digest: DigestPath, caller: ConstitutionRevoker, soma: Soma, body: Why | None = None
) -> Revoked:
    """Revoke a constitution for ever, at once: runs that use it stop at their next action."""
    return await service.revoke(soma, caller, digest, (body or Why()).reason)
