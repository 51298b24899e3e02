"""Runs: start them, load them, and send them control and messages.

Each step of a start can be repeated: the same idempotency key gives the same run, wherever an earlier attempt stopped.
"""

import time
from dataclasses import dataclass
from typing import Any

from api.deps import State
from api.resources.audit.service import audited
from api.resources.runs.preflight import check_inputs, preflight_start
from api.run_urls import require_own
from api.temporal import start_workflow, update
from capsules.actions.verdict import Verdict
from capsules.budgets.amounts import Amounts
from capsules.capsule import Capsule, PublishedCapsule
from capsules.digest import Digest, canonical, digest
from capsules.errors import Conflict, Invalid, NotFound, PolicyDenied
from capsules.identity.authority import Authority
from capsules.identity.principal import Principal
from capsules.names import Reference, parse_reference
from capsules.runs.run import TERMINAL, Control, InboxMessage, NewRun, RunRecord, RunStart, RunView, StartCapsule
from somagent.identity.signatures import verify_capsule

QUEUE = "capsules"
"""The workflows' task queue. The API names workflows and queue by text: it needs none of their code."""
DAY = 86_400
LONGEST_ID = 255


@dataclass(frozen=True)
class Started:
    """A run, whether this request created it, and the preflight verdict."""

    run: RunRecord
    created: bool
    verdict: Verdict | None


def workflow_of(capsule: Capsule) -> str:
    """Return the workflow type that runs this capsule."""
    return "RunProject" if capsule.spec.type == "composite" else "RunCapsule"


async def find(state: State, caller: Principal, reference: Reference) -> PublishedCapsule:
    """Return a published capsule. Raises NotFound, or TamperedContent when its signature does not verify."""
    async with state.db.transaction(caller.tenant) as tx:
        published = await tx.capsules.get(reference)
    verify_capsule(state.keyring, published)
    return published


async def start(  # noqa: PLR0913 - what a request says
    state: State,
    caller: Principal,
    *,
    reference: Reference,
    inputs: dict[str, Any],
    budget: Amounts | None,
    key: str,
    project: str | None = None,
) -> Started:
    """Start a run, or return the one that this key started. Raises PolicyDenied when the gate would deny it."""
    account = await account_for(state, caller.tenant, project)
    published = await find(state, caller, reference)
    check_inputs(published.capsule, inputs)
    run = f"{caller.tenant}/{published.capsule.metadata.name}/{key}"
    if len(run) > LONGEST_ID:
        raise Invalid(f"The run's id would have {len(run)} characters, of at most {LONGEST_ID}: use a shorter key.")
    asked = {
        "actor": caller.subject,  # another principal may not use this key
        "capsule": str(reference),
        "inputs": inputs,
        "budget": budget.model_dump() if budget else None,
        **({"project": project} if project else {}),
    }
    new = NewRun(
        id=run,
        capsule=published.capsule.ref,
        digest=published.digest,
        actor=caller.subject,
        inputs=inputs,
        request=digest(asked),
    )
    verdict = await _preflight(state, caller, new, budget, account)
    async with state.db.transaction(caller.tenant) as tx:
        record, created = await tx.runs.accept(new)
    if record.status not in TERMINAL:
        if record.capsule != published.capsule.ref:  # a newer version was published since this key's first request
            published = await find(state, caller, parse_reference(record.capsule))
        await _start_workflow(state, caller, published, run=run, inputs=inputs, budget=budget, account=account)
    return Started(record, created, verdict)


async def account_for(state: State, tenant: str, project: str | None) -> str:
    """Return the account that a run's budget comes from. Raises NotFound or Conflict when the project is not open."""
    if project is None:
        return f"tenant:{tenant}"
    async with state.db.transaction(tenant) as tx:
        found = await tx.accounts.get(f"project:{project}")
    if found.closed:
        raise Conflict(f"Project {project!r} is closed; nothing can be started in it.", project=project)
    return found.id


async def _preflight(
    state: State, caller: Principal, new: NewRun, budget: Amounts | None, account: str
) -> Verdict | None:
    """Return the preflight verdict; None, and no denial, when this key started the run before."""
    claims = start_claims(state, caller, run=new.id, ref=new.capsule, capsule=new.digest, account=account)
    length = len(canonical(new.inputs).decode())
    request = StartCapsule(
        capsule=new.capsule, digest=new.digest, inputs=digest(new.inputs), input_length=length, budget=budget
    )
    try:
        return await preflight_start(state, claims, request)
    except PolicyDenied:
        try:
            async with state.db.transaction(caller.tenant) as tx:
                await tx.runs.get(new.id)
        except NotFound:
            pass
        else:
            return None
        raise


async def _start_workflow(  # noqa: PLR0913
    state: State,
    caller: Principal,
    published: PublishedCapsule,
    *,
    run: str,
    inputs: dict[str, Any],
    budget: Amounts | None,
    account: str,
) -> None:
    argument = RunStart(
        tenant=caller.tenant,
        capsule=published.capsule.ref,
        digest=published.digest,
        inputs=inputs,
        authority=start_authority(
            state, caller, run=run, ref=published.capsule.ref, capsule=published.digest, account=account
        ),
        budget=budget,
    )
    await start_workflow(
        state.temporal,
        workflow_of(published.capsule),
        argument,
        id_=run,
        queue=QUEUE,
        subject=f"run {run!r}",
        summary=published.capsule.metadata.summary[:200],
    )


def start_authority(  # noqa: PLR0913
    state: State, caller: Principal, *, run: str, ref: str, capsule: Digest, account: str, prefix: bool = False
) -> str:
    """Return the start authority of one run, or of every run of a schedule, for this capsule only."""
    return state.tokens.mint_authority(
        start_claims(state, caller, run=run, ref=ref, capsule=capsule, account=account, prefix=prefix)
    )


def start_claims(  # noqa: PLR0913
    state: State, caller: Principal, *, run: str, ref: str, capsule: Digest, account: str, prefix: bool = False
) -> Authority:
    """Return the claims of that token."""
    return Authority(
        kind="start",
        tenant=caller.tenant,
        actor=caller.subject,
        run=run,
        prefix=prefix,
        account=account,
        capsules={ref: capsule},
        expires_at=int(time.time()) + state.settings.authority_days * DAY,
    )


async def get(state: State, caller: Principal, run: str) -> RunRecord:
    """Return a run of the caller's tenant. Raises NotFound."""
    require_own(run, caller)
    async with state.db.transaction(caller.tenant) as tx:
        return await tx.runs.get(run)


async def get_open(state: State, caller: Principal, run: str) -> RunRecord:
    """Return an open run of the caller's tenant. Raises NotFound, or Conflict when it has ended."""
    record = await get(state, caller, run)
    if record.status in TERMINAL:
        raise Conflict(f"Run {run!r} has ended: it is {record.status}.", run=run, status=record.status)
    return record


async def control(state: State, caller: Principal, run: str, name: str, body: Control | None) -> RunView:
    """Pause, resume or cancel an open run, with an audit entry. Raises Conflict, NotFound or Unavailable."""
    await get_open(state, caller, run)
    request = body or Control()
    async with audited(state, caller, f"run.{name}", run, reason=request.reason):
        return await update(state.temporal, run, name, request, key=None, answer=RunView)


async def send_message(state: State, caller: Principal, run: str, message: InboxMessage) -> RunView:
    """Send a message to an open run, with an audit entry. Raises Conflict, NotFound or Unavailable."""
    await get_open(state, caller, run)
    async with audited(state, caller, "run.told", run, message=message.id, text=digest(message.text)):
        return await update(state.temporal, run, "message", message, key=f"message/{message.id}", answer=RunView)
