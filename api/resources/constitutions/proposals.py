"""Proposing a change of constitution: what is asked becomes a change, is kept, and goes to the workflow that makes it.

Each step can be repeated: the same idempotency key ends in the same activation, wherever an earlier try stopped.
"""

import datetime as dt
from typing import Any, Literal

from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError

from api.deps import State
from api.temporal import translated
from capsules.constitutions.proposal import (
    EVERYBODY,
    SETTLED,
    ActivationRecord,
    ActiveConstitution,
    Change,
    Proposal,
    Stage,
)
from capsules.digest import Digest, digest
from capsules.errors import Conflict, ConstitutionRefused, Denied, Invalid, NotFound
from capsules.read_models import ConstitutionRecord, ConstitutionSignature, Principal
from policy.decide.engine import Policy
from policy.language.constitution import parse
from policy.prove.overlay import merged
from somagent.identity.tokens import Attestation

QUEUE = "platform"
"""The workflow's task queue. The API names workflow and queue by text: it needs none of their code."""
WORKFLOW = "ActivateConstitution"
PROPOSAL_SECONDS = 86_400
"""How long a proposal's own token holds: it is looked at when a worker takes the proposal up."""


def workflow_id(tenant: str, activation: str) -> str:
    """Return the workflow's id. No capsule's name begins with an underscore, so no run has it."""
    return f"{tenant}/_constitution/{activation}"


def is_platform(soma: State, caller: Principal) -> bool:
    return caller.tenant == soma.settings.platform_tenant


def own_scope(soma: State, caller: Principal, scope: str | None) -> str:
    """Return the scope that is meant. Raises Denied for another tenant's, and for everybody's."""
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
        return None, await soma.store.constitutions.history()
    history = await soma.store.constitutions.history(EVERYBODY, caller.tenant)
    async with soma.store.transaction(caller.tenant) as tx:
        proposed = await tx.proposals.digests()
    return frozenset({line.constitution for line in history if line.constitution}) | proposed, history


async def visible(soma: State, caller: Principal, digest: Digest) -> ConstitutionRecord:
    """Return a constitution that concerns the caller's tenant. Raises NotFound for any other one."""
    digests, _ = await concerning(soma, caller)
    if digests is not None and digest not in digests:
        raise NotFound(f"No constitution {digest!r} was ever installed.", digest=digest)
    return await soma.store.constitutions.get(digest)


def change_of(  # noqa: PLR0913 - what a proposal says
    soma: State, caller: Principal, constitution: Digest | None, *, scope: str, stage: Stage, overlaid: bool = False
) -> Change:
    """Return the change that a proposal asks for."""
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


async def overlaid(soma: State, overlays: tuple[dict[str, Any], ...]) -> dict[str, Any]:
    """Return everybody's constitution with these overlays."""
    base = await soma.store.constitutions.active()
    try:
        return merged(base.document, overlays)
    except ConstitutionRefused as error:
        raise Invalid(error.message, **error.fields) from error


async def keep(
    soma: State, caller: Principal, document: dict[str, Any], signatures: tuple[ConstitutionSignature, ...]
) -> Digest:
    """Install a document with its signatures. Raises Invalid when it does not load; it is not active by this."""
    found = digest(document)
    try:
        constitution = parse(document)
        Policy(constitution, found)
    except ConstitutionRefused as error:
        raise Invalid(error.message, **error.fields) from error
    await soma.store.constitutions.install(
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


async def propose(soma: State, caller: Principal, change: Change, *, key: str) -> ActivationRecord:
    """Start the workflow of a change, or return the one that this key started."""
    seconds = soma.settings.constitution_approval_hours * 3600
    async with soma.store.transaction(caller.tenant) as tx:
        record, _ = await tx.proposals.enter(
            key,
            change,
            request=digest({"actor": caller.subject, "change": change.digest()}),
            by=caller.subject,
            # Nothing is decided by a shadow, so nobody needs to agree to it.
            quorum=0 if change.stage == "shadow" else soma.settings.constitution_approvals,
            expires_at=dt.datetime.now(dt.UTC) + dt.timedelta(seconds=seconds),
        )
    if record.state not in SETTLED:
        await _start(soma, caller, change, record, seconds=seconds)
    return record


async def _start(soma: State, caller: Principal, change: Change, record: ActivationRecord, *, seconds: int) -> None:
    run = workflow_id(caller.tenant, record.id)
    attestation = Attestation(
        tenant=caller.tenant,
        subject=caller.subject,
        capabilities=caller.capabilities,
        purpose="propose_constitution",
        run=run,
        action=change.digest(),
    )
    proposal = Proposal(
        tenant=caller.tenant,
        id=record.id,
        change=change,
        proposed_by=caller.subject,
        quorum=record.quorum,
        expires_seconds=seconds,
        token=soma.tokens.mint_attestation(attestation, PROPOSAL_SECONDS),
    )
    with translated(f"activation {record.id!r}"):
        try:
            await soma.temporal.start_workflow(
                WORKFLOW,
                proposal,
                id=run,
                task_queue=QUEUE,
                id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
                id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
                static_summary=f"{change.reason} {change.constitution or 'none'} for {change.scope}",
            )
        except WorkflowAlreadyStartedError:
            return  # it ended between our two looks; the record will say so


async def earlier(soma: State, scope: str) -> Digest | None:
    """Return what was active in a scope before. Raises Conflict when nothing was that could come back.

    A rollback is a step back on a path, not a line of the history: after A, B and back to A, before A was nothing.
    """
    history = await soma.store.constitutions.history(scope, stage="active")
    path: list[Digest | None] = [] if scope == EVERYBODY else [None]
    for line in reversed(history):
        path = (
            [*path[: path.index(line.constitution)], line.constitution]
            if line.constitution in path
            else [
                *path,
                line.constitution,
            ]
        )
    kept = {one.digest for one in await soma.store.constitutions.list() if one.state != "revoked"}
    former = [one for one in path[:-1] if one is None or one in kept]
    if not former:
        raise Conflict(f"Nothing was active for {scope!r} before that could come back.", scope=scope)
    return former[-1]


def scopes_of(history: tuple[ActiveConstitution, ...]) -> frozenset[str]:
    return frozenset(line.scope for line in history)
