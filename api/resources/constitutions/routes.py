"""Constitutions: what is installed and active, proposals to change it, and people's yes or no to them.

A proposal becomes a workflow: signatures, proofs, comparison, approval, activation. Until its end nothing changes.
"""

import secrets
from typing import Annotated, Any, Self

from fastapi import APIRouter, Header, Path, Query, Response
from pydantic import BaseModel, ConfigDict, Field, model_validator

from api import run_urls
from api.access import ConstitutionApprover, ConstitutionProposer, ConstitutionRevoker, PolicyReader
from api.deps import Cursor, Limit, Soma, State
from api.middleware.bodies import KeptRoute
from api.middleware.problems import responses
from api.resources.constitutions import proposals
from api.temporal import update
from capsules.constitutions.proposal import (
    EVERYBODY,
    ActivationRecord,
    ActiveConstitution,
    Change,
    ShadowReport,
    Stage,
    Vote,
    VoteResult,
)
from capsules.digest import Digest
from capsules.errors import Conflict, Denied, NotFound
from capsules.read_models import ConstitutionRecord, ConstitutionSignature, ConstitutionSummary, Page, Principal
from somagent.identity.tokens import Attestation

router = APIRouter(prefix="/v1/constitutions", tags=["constitutions"], route_class=KeptRoute)

SCOPE = r"^(\*|[a-z0-9][a-z0-9-]{0,62})$"
DIGEST = r"^sha256:[0-9a-f]{64}$"
Scope = Annotated[str, Field(pattern=SCOPE, description="`*` for everybody, or a tenant. Unset: what the caller may.")]
DigestText = Annotated[str, Field(pattern=DIGEST)]
DigestPath = Annotated[str, Path(alias="digest", pattern=DIGEST)]
ActivationId = Annotated[str, Path(alias="activation", pattern=run_urls.KEY, examples=["k1"])]
Key = Annotated[
    str | None,
    Header(pattern=run_urls.KEY, description="The same key with the same request is the same activation."),
]
STRICT = ConfigDict(extra="forbid")


class Propose(BaseModel):
    """A document, an installed one by its digest, or overlays on everybody's constitution."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"digest": "sha256:" + "0" * 64}]})

    document: dict[str, Any] | None = None
    digest: DigestText | None = None
    overlays: tuple[dict[str, Any], ...] = Field((), max_length=20)
    signatures: tuple[ConstitutionSignature, ...] = Field(
        (), max_length=50, description="Over the digest of the document, or of what the overlays make of everybody's."
    )
    scope: Scope | None = None
    stage: Stage = "active"

    @model_validator(mode="after")
    def _one_subject(self) -> Self:
        if (self.document is not None) + (self.digest is not None) + bool(self.overlays) != 1:
            raise ValueError("a proposal has one of `document`, `digest` and `overlays`")
        return self


class RollBack(BaseModel):
    model_config = STRICT

    scope: Scope | None = None
    to: DigestText | None = Field(None, description="One that was active there. Unset: the one before.")


class Promote(BaseModel):
    model_config = STRICT

    scope: str = Field(pattern=SCOPE, description="The tenant whose canary everybody is to have.")


class Why(BaseModel):
    model_config = STRICT

    reason: str = Field("", max_length=2000)


class Comment(BaseModel):
    model_config = STRICT

    comment: str = Field("", max_length=2000)


class ConstitutionPage(BaseModel):
    """What there is, what counts for the caller's tenant, and how that came."""

    active: Digest | None
    shadow: Digest | None
    items: tuple[ConstitutionSummary, ...]
    history: tuple[ActiveConstitution, ...]


class ConstitutionDetail(BaseModel):
    constitution: ConstitutionRecord
    history: tuple[ActiveConstitution, ...] = Field(description="Where it was active or a shadow, newest first.")
    activations: tuple[ActivationRecord, ...] = Field(description="The caller's tenant's, with proofs and difference.")


class Revoked(BaseModel):
    digest: Digest
    active_for: tuple[str, ...] = Field(description="Scopes in which nothing runs until another one is active.")


@router.post("", status_code=202, responses=responses(404, 409))
async def propose_constitution(
    body: Propose, response: Response, caller: ConstitutionProposer, soma: Soma, idempotency_key: Key = None
) -> ActivationRecord:
    """Propose a constitution. It is active once it is proved and approved: watch it at Location."""
    scope = proposals.own_scope(soma, caller, body.scope)
    document = await proposals.overlaid(soma, body.overlays) if body.overlays else body.document
    if document is not None:
        found = await proposals.keep(soma, caller, document, body.signatures)
    else:
        found = (await proposals.visible(soma, caller, Digest(str(body.digest)))).digest
    change = proposals.change_of(soma, caller, found, scope=scope, stage=body.stage, overlaid=bool(body.overlays))
    return await _proposed(soma, caller, change, response, idempotency_key)


@router.get("", responses=responses())
async def list_constitutions(caller: PolicyReader, soma: Soma) -> ConstitutionPage:
    """List the constitutions that concern the caller's tenant, newest first, and what is and was active."""
    store = soma.store.constitutions
    digests, history = await proposals.concerning(soma, caller)
    return ConstitutionPage(
        active=await store.active_digest(caller.tenant),
        shadow=await store.active_digest(caller.tenant, "shadow"),
        items=await store.list(digests),
        history=history,
    )


@router.get("/shadow", responses=responses())
async def show_shadow(caller: PolicyReader, soma: Soma) -> ShadowReport:
    """Count how often the shadow would have decided otherwise than the active constitution, with first examples."""
    shadow = await soma.store.constitutions.active_digest(caller.tenant, "shadow")
    if shadow is None:
        return ShadowReport(constitution=None)
    own = await soma.store.constitutions.history(caller.tenant, stage="shadow")
    scope = caller.tenant if own and own[0].constitution == shadow else EVERYBODY
    async with soma.store.transaction(caller.tenant) as tx:
        return await tx.shadows.report(shadow, scope=scope)


@router.delete("/shadow", status_code=204, responses=responses())
async def end_shadow(
    caller: ConstitutionProposer, soma: Soma, scope: Annotated[str | None, Query(pattern=SCOPE)] = None
) -> None:
    """Take the shadow of a scope away. What it would have decided stays in the receipts."""
    wanted = proposals.own_scope(soma, caller, scope)
    async with soma.store.transaction(caller.tenant) as tx:
        await tx.proposals.unshadow(wanted, by=caller.subject)


@router.get("/activations", responses=responses())
async def list_activations(
    caller: PolicyReader, soma: Soma, cursor: Cursor = None, limit: Limit = 50
) -> Page[ActivationRecord]:
    """List what the caller's tenant proposed, newest first."""
    async with soma.store.transaction(caller.tenant) as tx:
        return await tx.proposals.list(cursor, limit)


@router.get("/activations/{activation}", responses=responses(404))
async def show_activation(activation: ActivationId, caller: PolicyReader, soma: Soma) -> ActivationRecord:
    """Show how far it is: proofs, difference, who approved, and how many are missing."""
    async with soma.store.transaction(caller.tenant) as tx:
        return await tx.proposals.get(activation)


@router.post("/activations/{activation}/approve", responses=responses(404, 409))
async def approve_activation(
    activation: ActivationId, caller: ConstitutionApprover, soma: Soma, body: Comment | None = None
) -> ActivationRecord:
    """Agree. Whoever proposed it cannot."""
    return await cast_vote(soma, caller, activation, (body or Comment()).comment, approve=True)


@router.post("/activations/{activation}/reject", responses=responses(404, 409))
async def reject_activation(
    activation: ActivationId, caller: ConstitutionApprover, soma: Soma, body: Comment | None = None
) -> ActivationRecord:
    """End it. The active constitution stays."""
    return await cast_vote(soma, caller, activation, (body or Comment()).comment, approve=False)


@router.post("/rollback", status_code=202, responses=responses(404, 409))
async def roll_back(
    body: RollBack, response: Response, caller: ConstitutionProposer, soma: Soma, idempotency_key: Key = None
) -> ActivationRecord:
    """Propose what was active before. It is proved against today's and approved like any other change."""
    scope = proposals.own_scope(soma, caller, body.scope)
    to = Digest(body.to) if body.to else await proposals.earlier(soma, scope)
    if to is not None:
        await proposals.visible(soma, caller, to)
    narrows = not proposals.is_platform(soma, caller)
    change = Change(constitution=to, scope=scope, reason="rollback", narrows=narrows)
    return await _proposed(soma, caller, change, response, idempotency_key)


@router.post("/promote", status_code=202, responses=responses(404, 409))
async def promote(
    body: Promote, response: Response, caller: ConstitutionProposer, soma: Soma, idempotency_key: Key = None
) -> ActivationRecord:
    """Propose that everybody has what one tenant has as a canary."""
    proposals.own_scope(soma, caller, EVERYBODY)
    own = (await soma.store.constitutions.own()).get(body.scope)
    if own is None:
        raise NotFound(f"The tenant {body.scope!r} has no constitution of its own to promote.", scope=body.scope)
    change = Change(constitution=own.constitution, scope=EVERYBODY, reason="promote", narrows=False, clears=body.scope)
    return await _proposed(soma, caller, change, response, idempotency_key)


@router.get("/{digest}", responses=responses(404))
async def show_installed(digest: DigestPath, caller: PolicyReader, soma: Soma) -> ConstitutionDetail:
    """Show a constitution: document, digests, signatures, where it was active, and what was proved of it."""
    record = await proposals.visible(soma, caller, Digest(digest))
    scopes = () if proposals.is_platform(soma, caller) else (EVERYBODY, caller.tenant)
    async with soma.store.transaction(caller.tenant) as tx:
        activations = await tx.proposals.list(limit=50, of=record.digest)
    history = await soma.store.constitutions.history(*scopes, of=record.digest)
    return ConstitutionDetail(constitution=record, history=history, activations=activations.items)


@router.post("/{digest}/revoke", responses=responses(404))
async def revoke_constitution(
    digest: DigestPath, caller: ConstitutionRevoker, soma: Soma, body: Why | None = None
) -> Revoked:
    """Revoke a constitution for ever, at once: runs that are pinned to it stop at their next action."""
    record = await proposals.visible(soma, caller, Digest(digest))
    scopes = proposals.scopes_of(await soma.store.constitutions.history(of=record.digest))
    if not proposals.is_platform(soma, caller) and not scopes <= {caller.tenant}:
        raise Denied(f"{digest} is not the tenant {caller.tenant!r}'s alone: it cannot revoke it.", digest=digest)
    await soma.store.constitutions.revoke(
        record.digest, tenant=caller.tenant, by=caller.subject, reason=(body or Why()).reason
    )
    now = {scope: await soma.store.constitutions.active_digest(scope) for scope in scopes}
    return Revoked(digest=record.digest, active_for=tuple(sorted(s for s, d in now.items() if d == record.digest)))


async def _proposed(
    soma: State, caller: Principal, change: Change, response: Response, key: str | None
) -> ActivationRecord:
    record = await proposals.propose(soma, caller, change, key=key or secrets.token_hex(8))
    response.headers["Location"] = f"/v1/constitutions/activations/{record.id}"
    return record


async def cast_vote(
    soma: State, caller: Principal, activation: str, comment: str, *, approve: bool
) -> ActivationRecord:
    async with soma.store.transaction(caller.tenant) as tx:
        asked = await tx.proposals.get(activation)
    if asked.state != "awaiting_approval":
        raise Conflict(f"Activation {activation!r} is {asked.state}; it does not wait for approval.", state=asked.state)
    if approve and asked.proposed_by == caller.subject:
        raise Denied(f"Separation of duties: {caller.subject!r} proposed this and cannot approve it.")
    run = proposals.workflow_id(caller.tenant, activation)
    attestation = Attestation(
        tenant=caller.tenant,
        subject=caller.subject,
        capabilities=caller.capabilities,
        purpose="approve_constitution" if approve else "reject_constitution",
        run=run,
        action=asked.change,
    )
    consent = Vote(change=asked.change, comment=comment, token=soma.tokens.mint_attestation(attestation))
    verb = "approve" if approve else "reject"
    heard = await update(soma.temporal, run, verb, consent, key=f"{caller.subject}/{verb}", answer=VoteResult)
    if heard.problem:
        raise Conflict(heard.problem, activation=activation, state=heard.state)
    async with soma.store.transaction(caller.tenant) as tx:
        return await tx.proposals.get(activation)
