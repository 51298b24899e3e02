"""Work of the run routes: start and load runs, and send them control and messages.

Each step of a start can be repeated: the same idempotency key gives the same run, wherever an earlier attempt stopped.
"""

import contextlib
import time
import uuid
from dataclasses import dataclass
from functools import partial
from typing import Any

from api.audit_entries import audited_change
from api.deps import State
from api.resources.runs.preflight import check_inputs, preflight_start
from api.resources.runs.schemas import RunRequest
from api.run_urls import require_own
from api.temporal import start_workflow, update
from capsules.actions.verdict import Verdict
from capsules.budgets.amounts import Amounts
from capsules.capsule import Capsule, PublishedCapsule
from capsules.digest import digest
from capsules.errors import Conflict, Invalid, NotFound, PolicyDenied
from capsules.identity.authority import Authority
from capsules.identity.principal import Principal
from capsules.names import Reference, parse_reference
from capsules.runs.run import TERMINAL, Control, InboxMessage, NewRun, RunRecord, RunStart, RunView
from somagent.identity.signatures import verify_capsule

QUEUE = "capsules"
"""The workflows' task queue. The API names workflows and queue by text: it needs none of their code."""
DAY = 86_400
MAX_ID_LENGTH = 255


@dataclass(frozen=True)
class StartedRun:
    """A run, whether this request created it, and the preflight verdict."""

    run: RunRecord
    created: bool
    verdict: Verdict | None


def workflow_of(capsule: Capsule) -> str:
    """Return the workflow type that runs this capsule."""
    return "RunProject" if capsule.spec.type == "composite" else "RunCapsule"


async def find_capsule(state: State, caller: Principal, reference: Reference) -> PublishedCapsule:
    """Return a published capsule. Raises NotFound, or TamperedContent when its signature does not verify."""
    async with state.db.transaction(caller.tenant) as tx:
        published = await tx.capsules.get(reference)
    verify_capsule(state.keyring, published)
    return published


async def start(state: State, caller: Principal, reference: Reference, request: RunRequest, key: str) -> StartedRun:
    """Start a run, or return the run that this key started before.

    Raises Invalid for inputs that do not follow the schema, NotFound, PolicyDenied when the gate would deny the start,
    and Conflict when the key was used for another request.
    """
    account = await account_for(state, caller.tenant, request.project)
    published = await find_capsule(state, caller, reference)
    check_inputs(published.capsule, request.inputs)
    run = f"{caller.tenant}/{published.capsule.metadata.name}/{key}"
    if len(run) > MAX_ID_LENGTH:
        raise Invalid(
            f"The run's id would have {len(run)} characters; the maximum is {MAX_ID_LENGTH}. Use a shorter key."
        )
    identity = {
        "actor": caller.subject,  # another principal may not use this key
        "capsule": str(reference),
        "inputs": request.inputs,
        "budget": request.budget.model_dump() if request.budget else None,
        **({"project": request.project} if request.project else {}),
    }
    new = NewRun(
        id=run,
        capsule=published.capsule.ref,
        digest=published.digest,
        actor=caller.subject,
        inputs=request.inputs,
        request=digest(identity),
    )
    start_of = partial(run_start, state, caller, run=run, inputs=request.inputs, budget=request.budget, account=account)
    argument = start_of(published)
    verdict = await _preflight(state, run, argument)
    async with state.db.transaction(caller.tenant) as tx:
        record, created = await tx.runs.accept(new)
    if record.status not in TERMINAL:
        if record.capsule != published.capsule.ref:  # a newer version was published since this key's first request
            published = await find_capsule(state, caller, parse_reference(record.capsule))
            argument = start_of(published)
        await start_workflow(
            state.temporal,
            workflow_of(published.capsule),
            argument,
            id_=run,
            queue=QUEUE,
            subject=f"run {run!r}",
            summary=published.capsule.metadata.summary[:200],
        )
    return StartedRun(record, created, verdict)


async def account_for(state: State, tenant: str, project: str | None) -> str:
    """Return the account that pays for a run. Raises NotFound for an unknown project, Conflict for a closed one."""
    if project is None:
        return f"tenant:{tenant}"
    async with state.db.transaction(tenant) as tx:
        account = await tx.accounts.get(f"project:{project}")
    if account.closed:
        raise Conflict(f"Project {project!r} is closed. Start the run in another project.", project=project)
    return account.id


def run_start(  # noqa: PLR0913 - what a start says
    state: State,
    caller: Principal,
    published: PublishedCapsule,
    *,
    run: str,
    inputs: dict[str, Any],
    budget: Amounts | None,
    account: str,
    schedule: str | None = None,
    not_before: int | None = None,
) -> RunStart:
    """Return the input of a run's workflow, with a start authority of the caller for exactly this start.

    run: the id of the run; for a schedule, the first part of the ids of its runs.
    schedule: the id of the schedule whose starts the authority covers.
    not_before: Unix seconds before which the schedule started nothing; unset: now.
    """
    ref, now = published.capsule.ref, int(time.time())
    authority = Authority(
        kind="start",
        tenant=caller.tenant,
        actor=caller.subject,
        run=run,
        prefix=schedule is not None,
        account=account,
        capsules={ref: published.digest},
        workflow_type=workflow_of(published.capsule),
        queue=QUEUE,
        inputs=digest(inputs),
        budget=budget,
        schedule=schedule,
        nonce=uuid.uuid4().hex,
        not_before=now if not_before is None else not_before,
        expires_at=now + state.settings.authority_days * DAY,
    )
    token = state.tokens.mint_authority(authority)
    return RunStart(
        tenant=caller.tenant, capsule=ref, digest=published.digest, inputs=inputs, authority=token, budget=budget
    )


async def _preflight(state: State, run: str, argument: RunStart) -> Verdict | None:
    """Return the preflight verdict. A denied start whose run exists already returns None: it starts nothing new."""
    try:
        return await preflight_start(state, argument)
    except PolicyDenied:
        with contextlib.suppress(NotFound):
            async with state.db.transaction(argument.tenant) as tx:
                await tx.runs.get(run)
            return None
        raise


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
    async with audited_change(state, caller, f"run.{name}", run, reason=request.reason):
        return await update(state.temporal, run, name, request, key=None, answer=RunView)


async def send_message(state: State, caller: Principal, run: str, message: InboxMessage) -> RunView:
    """Send a message to an open run, with an audit entry. Raises Conflict, NotFound or Unavailable."""
    await get_open(state, caller, run)
    async with audited_change(state, caller, "run.told", run, message=message.id, text=digest(message.text)):
        return await update(state.temporal, run, "message", message, key=f"message/{message.id}", answer=RunView)
