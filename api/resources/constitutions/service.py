"""Proposals to change a constitution: visibility, installation, start of the activation workflow, votes, revocation.

Each step can be repeated: the same idempotency key gives the same activation, wherever an earlier attempt stopped.
"""

import datetime as dt
import secrets
from typing import Any, Literal

from fastapi import Response

from api.access import attest
from api.deps import State
from api.resources.constitutions.schemas import Comment, Propose, Revoked, RollBack
from api.temporal import start_workflow, update
from capsules.constitutions.constitution import ConstitutionRecord, ConstitutionSignature
from capsules.constitutions.proposal import (
    EVERYBODY,
    SETTLED,
    ActivationRecord,
    ActiveConstitution,
    Change,
    Proposal,
    ShadowReport,
    Stage,
    Vote,
    VoteResult,
)
from capsules.digest import Digest, digest
from capsules.errors import Conflict, ConstitutionRefused, Denied, Invalid, NotFound
from capsules.identity.principal import Principal
from policy.decide.engine import Policy
from policy.language.constitution import parse
from policy.prove.overlay import apply_overlays

QUEUE = "platform"
"""The workflow's task queue. The API names workflow and queue by text: it needs none of their code."""
WORKFLOW = "ActivateConstitution"
PROPOSAL_SECONDS = 86_400
"""Lifetime of a proposal's attestation: a worker verifies it when it starts the proposal."""


def _workflow_id(tenant: str, activation: str) -> str:
    """Return the workflow's id. No capsule's name begins with an underscore, so no run has it."""
    return f"{tenant}/_constitution/{activation}"


def is_platform(soma: State, caller: Principal) -> bool:
    """Return whether the caller belongs to the platform's tenant, which may change the constitution of all."""
    return caller.tenant == soma.settings.platform_tenant


def own_scope(soma: State, caller: Principal, scope: str | None) -> str:
    """Return the scope of a request. Raises Denied for another scope than the caller may change."""
    if scope is None:
        return EVERYBODY if is_platform(soma, caller) else caller.tenant
    if scope != caller.tenant and not is_platform(soma, caller):
        raise Denied(
            f"Principals of the tenant {caller.tenant!r} change their own constitution only, not that of {scope!r}; "
            f"those of {soma.settings.platform_tenant!r} may.",
            scope=scope,
        )
    return scope


async def concerning(soma: State, caller: Principal) -> tuple[frozenset[Digest] | None, tuple[ActiveConstitution, ...]]:
    """Return the digests that concern the caller's tenant (None: all) and the history that it may see."""
    if is_platform(soma, caller):
        return None, await soma.db.constitutions.history()
    history = await soma.db.constitutions.history(EVERYBODY, caller.tenant)
    async with soma.db.transaction(caller.tenant) as tx:
        proposed = await tx.proposals.digests()
    return frozenset({line.constitution for line in history if line.constitution}) | proposed, history


async def visible(soma: State, caller: Principal, digest: Digest) -> ConstitutionRecord:
    """Return a constitution that concerns the caller's tenant. Raises NotFound for any other one."""
    digests, _ = await concerning(soma, caller)
    if digests is not None and digest not in digests:
        raise NotFound(f"No constitution {digest!r} was ever installed.", digest=digest)
    return await soma.db.constitutions.get(digest)


def _change_of(  # noqa: PLR0913 - what a proposal says
    soma: State, caller: Principal, constitution: Digest | None, *, scope: str, stage: Stage, overlaid: bool = False
) -> Change:
    """Return the change that a proposal describes."""
    platform = is_platform(soma, caller)
    canary = platform and scope != EVERYBODY and not overlaid
    reason: Literal["activate", "canary", "shadow"] = (
        "shadow" if stage == "shadow" else "canary" if canary else "activate"
    )
    return Change(
        constitution=constitution,
        scope=scope,
        stage=stage,
        reason=reason,
        narrows=overlaid or not platform,
        overlaid=overlaid,
    )


async def _overlaid(soma: State, overlays: tuple[dict[str, Any], ...]) -> dict[str, Any]:
    """Return the constitution of all tenants with these overlays."""
    base = await soma.db.constitutions.active()
    try:
        return apply_overlays(base.document, overlays)
    except ConstitutionRefused as error:
        raise Invalid(error.message, **error.fields) from error


async def _install(
    soma: State, caller: Principal, document: dict[str, Any], signatures: tuple[ConstitutionSignature, ...]
) -> Digest:
    """Install a document with its signatures, without activating it. Raises Invalid when it does not load."""
    found = digest(document)
    try:
        constitution = parse(document)
        Policy(constitution, found)
    except ConstitutionRefused as error:
        raise Invalid(error.message, **error.fields) from error
    await soma.db.constitutions.install(
        ConstitutionRecord(
            digest=found,
            name=constitution.metadata.name,
            version=constitution.metadata.version,
            document=document,
            signatures=signatures,
            proposed_by=caller.subject,
            installed_at=dt.datetime.now(dt.UTC),
        )
    )
    return found


async def proposed_change(soma: State, caller: Principal, body: Propose) -> Change:
    """Return the change that a proposal describes, its document installed. Raises Denied, Invalid or NotFound."""
    scope = own_scope(soma, caller, body.scope)
    document = await _overlaid(soma, body.overlays) if body.overlays else body.document
    if document is not None:
        found = await _install(soma, caller, document, body.signatures)
    else:
        found = (await visible(soma, caller, Digest(str(body.digest)))).digest
    return _change_of(soma, caller, found, scope=scope, stage=body.stage, overlaid=bool(body.overlays))


async def rollback_change(soma: State, caller: Principal, body: RollBack) -> Change:
    """Return the change back to a former constitution. Raises Conflict when there is none, Denied or NotFound."""
    scope = own_scope(soma, caller, body.scope)
    to = Digest(body.to) if body.to else await _previous(soma, scope)
    if to is not None:
        await visible(soma, caller, to)
    return Change(constitution=to, scope=scope, reason="rollback", narrows=not is_platform(soma, caller))


async def promotion_change(soma: State, caller: Principal, tenant: str) -> Change:
    """Return the change of a tenant's canary to the constitution of all. Raises NotFound when it has none."""
    own_scope(soma, caller, EVERYBODY)
    own = (await soma.db.constitutions.active_by_tenant()).get(tenant)
    if own is None:
        raise NotFound(f"The tenant {tenant!r} has no constitution of its own to promote.", scope=tenant)
    return Change(constitution=own.constitution, scope=EVERYBODY, reason="promote", narrows=False, clears=tenant)


async def propose(
    soma: State, caller: Principal, change: Change, idempotency_key: str | None, response: Response
) -> ActivationRecord:
    """Start the workflow of a change, or return the one that this key started; its path goes to Location."""
    key = idempotency_key or secrets.token_hex(8)
    seconds = soma.settings.constitution_approval_hours * 3600
    async with soma.db.transaction(caller.tenant) as tx:
        record, _ = await tx.proposals.enter(
            key,
            change,
            request=digest({"actor": caller.subject, "change": change.digest()}),
            by=caller.subject,
            # A shadow decides nothing, so it needs no votes.
            quorum=0 if change.stage == "shadow" else soma.settings.constitution_approvals,
            expires_at=dt.datetime.now(dt.UTC) + dt.timedelta(seconds=seconds),
        )
    if record.state not in SETTLED:
        await _start(soma, caller, change, record, seconds=seconds)
    response.headers["Location"] = f"/v1/constitutions/activations/{record.id}"
    return record


async def _start(soma: State, caller: Principal, change: Change, record: ActivationRecord, *, seconds: int) -> None:
    run = _workflow_id(caller.tenant, record.id)
    proposal = Proposal(
        tenant=caller.tenant,
        id=record.id,
        change=change,
        proposed_by=caller.subject,
        quorum=record.quorum,
        expires_seconds=seconds,
        token=attest(soma, caller, "propose_constitution", run, seconds=PROPOSAL_SECONDS, action=change.digest()),
    )
    await start_workflow(
        soma.temporal,
        WORKFLOW,
        proposal,
        id_=run,
        queue=QUEUE,
        subject=f"activation {record.id!r}",
        summary=f"{change.reason} {change.constitution or 'none'} for {change.scope}",
    )


async def _previous(soma: State, scope: str) -> Digest | None:
    """Return the constitution before the active one of a scope. Raises Conflict when there is none to return to.

    A rollback goes back on a path, not in the history: after A, B and a rollback to A, nothing comes before A.
    """
    history = await soma.db.constitutions.history(scope, stage="active")
    path: list[Digest | None] = [] if scope == EVERYBODY else [None]
    for line in reversed(history):
        if line.constitution in path:
            del path[path.index(line.constitution) :]
        path.append(line.constitution)
    kept = {one.digest for one in await soma.db.constitutions.list() if one.state != "revoked"}
    former = [one for one in path[:-1] if one is None or one in kept]
    if not former:
        raise Conflict(f"Nothing was active for {scope!r} before that could come back.", scope=scope)
    return former[-1]


async def shadow_report(soma: State, caller: Principal) -> ShadowReport:
    """Return the differences that the shadow of the caller's tenant has shown."""
    shadow = await soma.db.constitutions.active_digest(caller.tenant, "shadow")
    if shadow is None:
        return ShadowReport(constitution=None)
    own = await soma.db.constitutions.history(caller.tenant, stage="shadow")
    scope = caller.tenant if own and own[0].constitution == shadow else EVERYBODY
    async with soma.db.transaction(caller.tenant) as tx:
        return await tx.shadows.report(shadow, scope=scope)


async def cast_vote(
    soma: State, caller: Principal, activation: str, body: Comment, *, approve: bool
) -> ActivationRecord:
    """Send the caller's vote to the workflow and return the activation after it. Raises Conflict, Denied, NotFound."""
    async with soma.db.transaction(caller.tenant) as tx:
        asked = await tx.proposals.get(activation)
    if asked.state != "awaiting_approval":
        raise Conflict(f"Activation {activation!r} is {asked.state}; it does not wait for approval.", state=asked.state)
    if approve and asked.proposed_by == caller.subject:
        raise Denied(f"Separation of duties: {caller.subject!r} proposed this and cannot approve it.")
    run, verb = _workflow_id(caller.tenant, activation), "approve" if approve else "reject"
    token = attest(soma, caller, "approve_constitution" if approve else "reject_constitution", run, action=asked.change)
    vote = Vote(change=asked.change, comment=body.comment, token=token)
    result = await update(soma.temporal, run, verb, vote, key=f"{caller.subject}/{verb}", answer=VoteResult)
    if result.problem:
        raise Conflict(result.problem, activation=activation, state=result.state)
    async with soma.db.transaction(caller.tenant) as tx:
        return await tx.proposals.get(activation)


async def revoke(soma: State, caller: Principal, digest: Digest, reason: str) -> Revoked:
    """Revoke a constitution. Raises Denied when it was active for others than the caller's tenant, NotFound."""
    record, db = await visible(soma, caller, digest), soma.db.constitutions
    scopes = {line.scope for line in await db.history(of=record.digest)}
    if not is_platform(soma, caller) and not scopes <= {caller.tenant}:
        raise Denied(f"{digest} is not the tenant {caller.tenant!r}'s alone: it cannot revoke it.", digest=digest)
    await db.revoke(record.digest, tenant=caller.tenant, by=caller.subject, reason=reason)
    now = {scope: await db.active_digest(scope) for scope in scopes}
    return Revoked(digest=record.digest, active_for=tuple(sorted(s for s, d in now.items() if d == record.digest)))
