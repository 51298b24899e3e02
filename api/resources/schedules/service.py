"""Schedules in Temporal: create, renew, list, describe, and preflight of the next start."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from temporalio.client import (
    Schedule as TemporalSchedule,
)
from temporalio.client import (
    ScheduleActionExecutionStartWorkflow,
    ScheduleActionStartWorkflow,
    ScheduleDescription,
    ScheduleHandle,
    ScheduleIntervalSpec,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleSpec,
    ScheduleState,
    ScheduleUpdate,
    ScheduleUpdateInput,
)

from api.deps import State
from api.resources.audit.service import audited
from api.resources.runs.preflight import check_inputs, preflight_start
from api.resources.runs.service import QUEUE, account_for, find, start_authority, workflow_of
from api.resources.schedules.schemas import NewSchedule, Schedule, Times
from api.temporal import ANSWER, translated
from capsules.actions.verdict import Verdict
from capsules.budgets.amounts import Amounts
from capsules.capsule import PublishedCapsule
from capsules.digest import canonical, digest
from capsules.errors import Conflict
from capsules.identity.principal import Principal
from capsules.names import parse_reference
from capsules.runs.run import RunStart, StartCapsule

MOST = 500
"""Most schedules of one list."""


def handle_of(soma: State, caller: Principal, name: str) -> ScheduleHandle:
    """Return Temporal's handle of a schedule of the caller's tenant."""
    return soma.temporal.get_schedule_handle(f"{caller.tenant}/{name}")


@asynccontextmanager
async def changing(soma: State, caller: Principal, action: str, name: str, **details: str) -> AsyncIterator[None]:
    """Write an audit entry for a change of a schedule, and raise our errors instead of Temporal's."""
    async with audited(soma, caller, action, name, **details):
        with translated(f"schedule {name!r}"):
            yield


async def show(soma: State, caller: Principal, handle: ScheduleHandle) -> Schedule:
    """Return a schedule as callers read it. Raises NotFound."""
    with translated(f"schedule {handle.id.partition('/')[2]!r}"):
        return await _described(soma, caller, await handle.describe(rpc_timeout=ANSWER))


async def create(soma: State, caller: Principal, body: NewSchedule) -> Schedule:
    """Create a schedule, its inputs checked. Raises Conflict when there is one, Invalid or NotFound."""
    published = await find(soma, caller, parse_reference(body.capsule))
    check_inputs(published.capsule, body.inputs)
    account = await account_for(soma, caller.tenant, body.project)
    details = {"capsule": published.capsule.ref, "digest": published.digest}
    async with changing(soma, caller, "schedule.created", body.name, **details):
        handle = await soma.temporal.create_schedule(
            f"{caller.tenant}/{body.name}",
            _temporal_schedule(soma, caller, body, published, account),
            memo={"times": Times(cron=body.cron, every=body.every)},
            rpc_timeout=ANSWER,
        )
    return await show(soma, caller, handle)


async def unpause(soma: State, caller: Principal, name: str) -> Schedule:
    """Unpause a schedule, with a new start authority of the caller. Raises NotFound or Conflict."""
    handle = handle_of(soma, caller, name)
    async with changing(soma, caller, "schedule.unpaused", name):
        known = await handle.describe(rpc_timeout=ANSWER)
        action = await _renewed_action(soma, caller, name, known)

        async def renew(given: ScheduleUpdateInput) -> ScheduleUpdate:
            schedule = given.description.schedule
            schedule.action = action
            schedule.state.paused = False
            schedule.state.note = f"Unpaused by {caller.subject}."
            return ScheduleUpdate(schedule=schedule)

        await handle.update(renew, rpc_timeout=ANSWER)
    return await show(soma, caller, handle)


def _temporal_schedule(
    soma: State, caller: Principal, asked: NewSchedule, published: PublishedCapsule, account: str
) -> TemporalSchedule:
    """Return the schedule for Temporal."""
    return TemporalSchedule(
        action=_action(
            soma,
            caller,
            name=asked.name,
            published=published,
            inputs=asked.inputs,
            budget=asked.budget,
            account=account,
        ),
        spec=ScheduleSpec(
            cron_expressions=list(asked.cron),
            intervals=[ScheduleIntervalSpec(timedelta(seconds=asked.every))] if asked.every else [],
        ),
        policy=SchedulePolicy(
            overlap=ScheduleOverlapPolicy[asked.overlap.upper()], catchup_window=timedelta(seconds=asked.catch_up)
        ),
        state=ScheduleState(note=asked.note, paused=asked.paused),
    )


async def _renewed_action(
    soma: State, caller: Principal, name: str, known: ScheduleDescription
) -> ScheduleActionStartWorkflow:
    """Return the action of a schedule with a new authority, in the caller's name."""
    given = await _run_start(soma, known)
    published = await find(soma, caller, parse_reference(given.capsule))
    account = soma.tokens.read_authority(given.authority).account
    return _action(
        soma, caller, name=name, published=published, inputs=given.inputs, budget=given.budget, account=account
    )


async def preflight(soma: State, known: ScheduleDescription) -> Verdict | None:
    """Return the gate's verdict on the next start. Raises PolicyDenied when it would be denied."""
    given = await _run_start(soma, known)
    request = StartCapsule(
        capsule=given.capsule,
        digest=given.digest,
        inputs=digest(given.inputs),
        input_length=len(canonical(given.inputs).decode()),
        budget=given.budget,
    )
    return await preflight_start(soma, soma.tokens.read_authority(given.authority), request)


async def _described(soma: State, caller: Principal, known: ScheduleDescription) -> Schedule:
    """Return a schedule as callers read it."""
    given, schedule = await _run_start(soma, known), known.schedule
    authority = soma.tokens.read_authority(given.authority)
    times = await known.memo_value("times", Times(), type_hint=Times)
    return Schedule(
        name=known.id.removeprefix(f"{caller.tenant}/"),
        capsule=given.capsule,
        account=authority.account,
        actor=authority.actor,
        authority_expires_at=authority.expires_at,
        cron=times.cron,
        every=times.every,
        overlap=schedule.policy.overlap.name.lower(),
        catch_up=int(schedule.policy.catchup_window.total_seconds()) if schedule.policy.catchup_window else 0,
        paused=schedule.state.paused,
        note=schedule.state.note or "",
        next=tuple(known.info.next_action_times[:5]),
        recent=tuple(
            result.action.workflow_id
            for result in known.info.recent_actions[-10:]
            if isinstance(result.action, ScheduleActionExecutionStartWorkflow)
        ),
    )


async def list_own(soma: State, caller: Principal) -> tuple[Schedule, ...]:
    """Return the tenant's schedules: those whose ids start with the tenant."""
    ids = []
    async for entry in await soma.temporal.list_schedules():
        if entry.id.startswith(f"{caller.tenant}/"):
            ids.append(entry.id)
            if len(ids) == MOST:
                break
    return tuple(
        [await _described(soma, caller, await soma.temporal.get_schedule_handle(id_).describe()) for id_ in ids]
    )


def _action(  # noqa: PLR0913 - what a start says
    soma: State,
    caller: Principal,
    *,
    name: str,
    published: PublishedCapsule,
    inputs: dict[str, Any],
    budget: Amounts | None,
    account: str,
) -> ScheduleActionStartWorkflow:
    # Temporal appends `-` and the time of the start; no other schedule's runs have this prefix.
    run = f"{caller.tenant}/{published.capsule.metadata.name}/{name}"
    ref = published.capsule.ref
    authority = start_authority(
        soma, caller, run=f"{run}-", ref=ref, capsule=published.digest, account=account, prefix=True
    )
    argument = RunStart(
        tenant=caller.tenant, capsule=ref, digest=published.digest, inputs=inputs, authority=authority, budget=budget
    )
    return ScheduleActionStartWorkflow(workflow_of(published.capsule), argument, id=run, task_queue=QUEUE)


async def _run_start(soma: State, known: ScheduleDescription) -> RunStart:
    action = known.schedule.action
    if not isinstance(action, ScheduleActionStartWorkflow):
        raise Conflict(f"Schedule {known.id!r} starts no workflow; it was not made here.")
    payloads = await soma.temporal.data_converter.decode(list(action.args), [RunStart])
    start: RunStart = payloads[0]
    return start
