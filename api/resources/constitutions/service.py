"""Work of the constitution routes: visibility, installation, start of the activation workflow, votes, revocation.

Each step can be repeated: the same idempotency key gives the same activation, wherever an earlier attempt stopped.
"""

import datetime as dt
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from api.access import attest
from api.deps import State
from api.resources.constitutions import schemas
from api.temporal import start_workflow, update
from capsules.constitutions.constitution import ConstitutionRecord, ConstitutionSignature
from capsules.constitutions.proposal import (
    EVERYBODY,
    SETTLED,
    STEPS,
    ActivationReason,
    ActivationRecord,
    ActiveConstitution,
    Change,
    Proposal,
    ShadowReport,
    Vote,
    VoteResult,
    workflow_id,
)
from capsules.digest import Digest, digest
from capsules.errors import Conflict, ConstitutionRefused, Denied, Invalid, NotFound
from capsules.identity.authority import Authority
from capsules.identity.principal import Principal
from policy.decide.engine import Policy
from policy.language.constitution import parse
from policy.prove.overlay import apply_overlays
from somagent.identity.tokens import AttestationPurpose

QUEUE = "platform"
"""The workflow's task queue. The API names workflow and queue by text: it needs none of their code."""
WORKFLOW = "ActivateConstitution"
PROPOSAL_SECONDS = 86_400
"""Lifetime of a proposal's attestation: a worker verifies it when it starts the proposal."""


@contextmanager
def invalid_not_refused() -> Iterator[None]:
    """Raise Invalid, with every faulty clause, for a document of the caller that does not load."""
    try:
        yield
    except ConstitutionRefused as error:
        raise Invalid(error.message, **error.fields) from error


def _is_platform(state: State, caller: Principal) -> bool:
    """Return whether the caller belongs to the platform's tenant, which may change the constitution of all tenants."""
    return caller.tenant == state.settings.platform_tenant


def permitted_scope(state: State, caller: Principal, scope: str | None) -> str:
    """Return the scope of a request. Raises Denied for a scope that the caller may not change."""
    if scope is None:
        return EVERYBODY if _is_platform(state, caller) else caller.tenant
    if scope != caller.tenant and not _is_platform(state, caller):
        raise Denied(
            f"Principals of the tenant {caller.tenant!r} change their own constitution only, not that of {scope!r}. "
            f"Ask a principal of the tenant {state.settings.platform_tenant!r}.",
            scope=scope,
        )
    return scope


async def list_visible(state: State, caller: Principal) -> schemas.ConstitutionPage:
    """Return the constitutions that the caller's tenant may see, the active one, the shadow and the history."""
    db = state.db.constitutions
    digests, history = await _visible_digests(state, caller)
    return schemas.ConstitutionPage(
        active=await db.active_digest(caller.tenant),
        shadow=await db.active_digest(caller.tenant, "shadow"),
        items=await db.list(digests),
        history=history,
    )


async def show(state: State, caller: Principal, digest: Digest) -> schemas.ConstitutionResponse:
    """Return a constitution with its history and activations. Raises NotFound as `find_visible` does."""
    record = await find_visible(state, caller, digest)
    scopes = () if _is_platform(state, caller) else (EVERYBODY, caller.tenant)
    async with state.db.transaction(caller.tenant) as tx:
        activations = await tx.proposals.list(limit=50, of=record.digest)
    history = await state.db.constitutions.history(*scopes, of=record.digest)
    return schemas.ConstitutionResponse(constitution=record, history=history, activations=activations.items)


async def _visible_digests(
    state: State, caller: Principal
) -> tuple[frozenset[Digest] | None, tuple[ActiveConstitution, ...]]:
    """Return the digests that the caller's tenant may see (None: all), and the history that it may see."""
    if _is_platform(state, caller):
        return None, await state.db.constitutions.history()
    history = await state.db.constitutions.history(EVERYBODY, caller.tenant)
    async with state.db.transaction(caller.tenant) as tx:
        proposed = await tx.proposals.digests()
    return frozenset({line.constitution for line in history if line.constitution}) | proposed, history


async def find_visible(state: State, caller: Principal, digest: Digest) -> ConstitutionRecord:
    """Return a constitution that the caller's tenant may see. Raises NotFound for any other one."""
    digests, _ = await _visible_digests(state, caller)
    if digests is not None and digest not in digests:
        raise NotFound(f"No constitution {digest!r} was ever installed.", digest=digest)
    return await state.db.constitutions.get(digest)


async def _install(
    state: State, caller: Principal, document: dict[str, Any], signatures: tuple[ConstitutionSignature, ...]
) -> Digest:
    """Install a document with its signatures, without activating it. Raises Invalid when it does not load."""
    document_digest = digest(document)
    with invalid_not_refused():
        constitution = parse(document)
        Policy(constitution, document_digest)
    await state.db.constitutions.install(
        ConstitutionRecord(
            digest=document_digest,
            name=constitution.metadata.name,
            version=constitution.metadata.version,
            document=document,
            signatures=signatures,
            proposed_by=caller.subject,
            installed_at=dt.datetime.now(dt.UTC),
        )
    )
    return document_digest


async def proposed_change(state: State, caller: Principal, body: schemas.ProposalRequest) -> Change:
    """Install a proposal's document and return the change that it describes. Raises Denied, Invalid or NotFound."""
    scope, document, overlaid = permitted_scope(state, caller, body.scope), body.document, bool(body.overlays)
    if overlaid:
        base = await state.db.constitutions.active()
        with invalid_not_refused():
            document = apply_overlays(base.document, body.overlays)
    if document is not None:
        constitution = await _install(state, caller, document, body.signatures)
    else:
        constitution = (await find_visible(state, caller, Digest(str(body.digest)))).digest
    platform = _is_platform(state, caller)
    reason: ActivationReason = "canary" if platform and scope != EVERYBODY and not overlaid else "activate"
    return Change(
        constitution=constitution,
        scope=scope,
        stage=body.stage,
        reason="shadow" if body.stage == "shadow" else reason,
        narrows=overlaid or not platform,
        overlaid=overlaid,
    )


async def rollback_change(state: State, caller: Principal, body: schemas.RollbackRequest) -> Change:
    """Return the change back to a former constitution. Raises Conflict when there is none, Denied or NotFound."""
    scope = permitted_scope(state, caller, body.scope)
    to = Digest(body.to) if body.to else await _previous(state, scope)
    if to is not None:
        await find_visible(state, caller, to)
    return Change(constitution=to, scope=scope, reason="rollback", narrows=not _is_platform(state, caller))


async def promotion_change(state: State, caller: Principal, tenant: str) -> Change:
    """Return the change that makes a tenant's canary the constitution of all tenants. Raises Denied or NotFound."""
    permitted_scope(state, caller, EVERYBODY)
    own = (await state.db.constitutions.active_by_tenant()).get(tenant)
    if own is None:
        raise NotFound(f"The tenant {tenant!r} has no constitution of its own to promote.", scope=tenant)
    return Change(constitution=own.constitution, scope=EVERYBODY, reason="promote", narrows=False, clears=tenant)


async def propose(state: State, caller: Principal, change: Change, idempotency_key: str | None) -> ActivationRecord:
    """Start the workflow of a change, or return the activation that this key started."""
    key = idempotency_key or secrets.token_hex(8)
    seconds = state.settings.constitution_approval_hours * 3600
    # A shadow decides nothing, so it needs no votes.
    quorum = 0 if change.stage == "shadow" else state.settings.constitution_approvals
    id_, action = workflow_id(caller.tenant, key), change.digest()
    terms = {"change": change.model_dump(mode="json"), "quorum": quorum}
    claims = {"action": action, "record": key, "terms": terms}
    token = attest(state, caller, "propose_constitution", id_, seconds=PROPOSAL_SECONDS, **claims)
    async with state.db.transaction(caller.tenant) as tx:
        record, _ = await tx.proposals.enter(
            key,
            change,
            request=digest({"actor": caller.subject, "change": change.digest()}),
            by=caller.subject,
            quorum=quorum,
            expires_at=dt.datetime.now(dt.UTC) + dt.timedelta(seconds=seconds),
            token=token,
        )
    if record.state in SETTLED:
        return record
    authority = Authority(
        kind="platform",
        tenant=caller.tenant,
        actor=caller.subject,
        run=id_,
        workflow_type=WORKFLOW,
        kinds=STEPS,
        account="",
        expires_at=int(time.time()) + seconds + PROPOSAL_SECONDS,
    )
    proposal = Proposal(
        tenant=caller.tenant,
        id=record.id,
        change=change,
        proposed_by=caller.subject,
        quorum=record.quorum,
        expires_seconds=seconds,
        token=token,
        authority=state.tokens.mint_authority(authority),
    )
    await start_workflow(
        state.temporal,
        WORKFLOW,
        proposal,
        id_=id_,
        queue=QUEUE,
        subject=f"activation {record.id!r}",
        summary=f"{change.reason} {change.constitution or 'none'} for {change.scope}",
    )
    return record


async def _previous(state: State, scope: str) -> Digest | None:
    """Return the constitution before the active one of a scope. Raises Conflict when there is none to return to.

    A rollback goes back on a path, not in the history: after A, B and a rollback to A, nothing comes before A.
    """
    history = await state.db.constitutions.history(scope, stage="active")
    path: list[Digest | None] = [] if scope == EVERYBODY else [None]
    for line in reversed(history):
        if line.constitution in path:
            del path[path.index(line.constitution) :]
        path.append(line.constitution)
    kept = {one.digest for one in await state.db.constitutions.list() if one.state != "revoked"}
    former = [one for one in path[:-1] if one is None or one in kept]
    if not former:
        raise Conflict(f"The scope {scope!r} has no earlier constitution to return to.", scope=scope)
    return former[-1]


async def shadow_report(state: State, caller: Principal) -> ShadowReport:
    """Return how the shadow of the caller's tenant would have decided differently."""
    shadow = await state.db.constitutions.active_digest(caller.tenant, "shadow")
    if shadow is None:
        return ShadowReport(constitution=None)
    own = await state.db.constitutions.history(caller.tenant, stage="shadow")
    scope = caller.tenant if own and own[0].constitution == shadow else EVERYBODY
    async with state.db.transaction(caller.tenant) as tx:
        return await tx.shadows.report(shadow, scope=scope)


async def cast_vote(
    state: State, caller: Principal, activation: str, body: schemas.VoteRequest, *, approve: bool
) -> ActivationRecord:
    """Send the caller's vote to the workflow and return the activation after it. Raises Conflict, Denied, NotFound."""
    async with state.db.transaction(caller.tenant) as tx:
        record = await tx.proposals.get(activation)
    if record.state != "awaiting_approval":
        raise Conflict(
            f"Activation {activation!r} is {record.state}; it does not wait for approval.", state=record.state
        )
    if approve and record.proposed_by == caller.subject:
        raise Denied(f"Separation of duties: {caller.subject!r} proposed this activation and cannot approve it.")
    run, verb = workflow_id(caller.tenant, activation), "approve" if approve else "reject"
    purpose: AttestationPurpose = "approve_constitution" if approve else "reject_constitution"
    token = attest(state, caller, purpose, run, action=record.change, record=activation)
    vote = Vote(change=record.change, comment=body.comment, token=token)
    result = await update(state.temporal, run, verb, vote, key=f"{caller.subject}/{verb}", answer=VoteResult)
    if result.problem:
        raise Conflict(result.problem, activation=activation, state=result.state)
    async with state.db.transaction(caller.tenant) as tx:
        return await tx.proposals.get(activation)


async def revoke(state: State, caller: Principal, digest: Digest, reason: str) -> schemas.RevocationResponse:
    """Revoke a constitution. Raises Denied when it was active for others than the caller's tenant, NotFound."""
    record, db = await find_visible(state, caller, digest), state.db.constitutions
    scopes = {line.scope for line in await db.history(of=record.digest)}
    if not _is_platform(state, caller) and not scopes <= {caller.tenant}:
        raise Denied(
            f"The tenant {caller.tenant!r} cannot revoke {digest}: it was active for other tenants, too.",
            digest=digest,
        )
    token = attest(state, caller, "revoke_constitution", record=record.digest, terms={"reason": reason})
    await db.revoke(record.digest, tenant=caller.tenant, token=token, reason=reason)
    active_for = [scope for scope in sorted(scopes) if await db.active_digest(scope) == record.digest]
    return schemas.RevocationResponse(digest=record.digest, active_for=tuple(active_for))
