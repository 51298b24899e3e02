"""Work of the schedule routes: create, list, show, pause, renew, trigger and delete schedules in Temporal."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from temporalio import client
from temporalio.converter import WorkflowSerializationContext

from api.audit_entries import audited_change
from api.deps import State
from api.resources.runs.preflight import check_inputs, preflight_start
from api.resources.runs.service import QUEUE, account_for, find_capsule, run_start, workflow_of
from api.resources.schedules.schemas import Schedule, ScheduleRequest, ScheduleTimes
from api.temporal import ANSWER, translate_errors
from capsules.actions.verdict import Verdict
from capsules.budgets.amounts import Amounts
from capsules.capsule import PublishedCapsule
from capsules.errors import Conflict
from capsules.identity.principal import Principal
from capsules.names import parse_reference
from capsules.runs.run import RunStart

MAX_LISTED = 500


async def create(state: State, caller: Principal, request: ScheduleRequest) -> Schedule:
    """Create a schedule and check its inputs. Raises Conflict when the name is in use, Invalid or NotFound."""
    published = await find_capsule(state, caller, parse_reference(request.capsule))
    check_inputs(published.capsule, request.inputs)
    account = await account_for(state, caller.tenant, request.project)
    schedule = client.Schedule(
        action=_start_action(state, caller, request.name, published, request.inputs, request.budget, account),
        spec=client.ScheduleSpec(
            cron_expressions=list(request.cron),
            intervals=[client.ScheduleIntervalSpec(timedelta(seconds=request.every))] if request.every else [],
        ),
        policy=client.SchedulePolicy(
            overlap=client.ScheduleOverlapPolicy[request.overlap.upper()],
            catchup_window=timedelta(seconds=request.catch_up),
        ),
        state=client.ScheduleState(note=request.note, paused=request.paused),
    )
    details = {"capsule": published.capsule.ref, "digest": published.digest}
    async with _change(state, caller, "schedule.created", request.name, **details) as handle:
        times = ScheduleTimes(cron=request.cron, every=request.every)
        await state.temporal.create_schedule(handle.id, schedule, memo={"times": times}, rpc_timeout=ANSWER)
    return await show(state, caller, request.name)


async def list_own(state: State, caller: Principal) -> tuple[Schedule, ...]:
    """Return the schedules of the caller's tenant, at most MAX_LISTED."""
    ids: list[str] = []
    with translate_errors("schedules"):
        async for entry in await state.temporal.list_schedules():
            if entry.id.startswith(f"{caller.tenant}/"):
                ids.append(entry.id)
            if len(ids) == MAX_LISTED:
                break
        return tuple([await _read(state, await state.temporal.get_schedule_handle(id_).describe()) for id_ in ids])


async def show(state: State, caller: Principal, name: str) -> Schedule:
    """Return a schedule. Raises NotFound."""
    with translate_errors(f"schedule {name!r}"):
        return await _read(state, await _handle(state, caller, name).describe(rpc_timeout=ANSWER))


async def pause(state: State, caller: Principal, name: str) -> Schedule:
    """Pause a schedule. Raises NotFound."""
    async with _change(state, caller, "schedule.paused", name) as handle:
        await handle.pause(note=f"Paused by {caller.subject}.", rpc_timeout=ANSWER)
    return await show(state, caller, name)


async def unpause(state: State, caller: Principal, name: str) -> Schedule:
    """Unpause a schedule, with a new start authority of the caller. Raises NotFound or Conflict."""
    async with _change(state, caller, "schedule.unpaused", name) as handle:
        start = await _run_start(state, await handle.describe(rpc_timeout=ANSWER))
        published = await find_capsule(state, caller, parse_reference(start.capsule))
        before = state.tokens.read_authority(start.authority)
        action = _start_action(
            state, caller, name, published, start.inputs, start.budget, before.account, before.not_before
        )

        async def renew(current: client.ScheduleUpdateInput) -> client.ScheduleUpdate:
            schedule = current.description.schedule
            schedule.action = action
            schedule.state.paused = False
            schedule.state.note = f"Unpaused by {caller.subject}."
            return client.ScheduleUpdate(schedule=schedule)

        await _revoke(state, caller, start, "the schedule was unpaused with a new one")
        await handle.update(renew, rpc_timeout=ANSWER)
    return await show(state, caller, name)


async def trigger(state: State, caller: Principal, name: str) -> tuple[Schedule, Verdict | None]:
    """Start a run now and return the gate's verdict on it. Raises NotFound, or PolicyDenied before anything starts."""
    async with _change(state, caller, "schedule.triggered", name) as handle:
        verdict = await preflight_start(state, await _run_start(state, await handle.describe(rpc_timeout=ANSWER)))
        await handle.trigger(rpc_timeout=ANSWER)
    return await show(state, caller, name), verdict


async def delete(state: State, caller: Principal, name: str) -> None:
    """Delete a schedule and revoke its start authority. Raises NotFound."""
    async with _change(state, caller, "schedule.deleted", name) as handle:
        start = await _run_start(state, await handle.describe(rpc_timeout=ANSWER))
        await _revoke(state, caller, start, "the schedule was deleted")
        await handle.delete(rpc_timeout=ANSWER)


async def _revoke(state: State, caller: Principal, start: RunStart, reason: str) -> None:
    """Revoke the start authority of a schedule, before the change: a failure leaves a schedule that starts nothing."""
    nonce = state.tokens.read_authority(start.authority).nonce
    if nonce:  # an older authority has none, and starts nothing
        async with state.db.transaction(caller.tenant) as tx:
            await tx.starts.revoke(nonce, reason, caller.subject)


def _handle(state: State, caller: Principal, name: str) -> client.ScheduleHandle:
    return state.temporal.get_schedule_handle(f"{caller.tenant}/{name}")


@asynccontextmanager
async def _change(
    state: State, caller: Principal, action: str, name: str, **details: str
) -> AsyncIterator[client.ScheduleHandle]:
    """Yield the schedule's handle for one change, with an audit entry. Raises our errors instead of Temporal's."""
    async with audited_change(state, caller, action, name, **details):
        with translate_errors(f"schedule {name!r}"):
            yield _handle(state, caller, name)


async def _read(state: State, known: client.ScheduleDescription) -> Schedule:
    start, schedule = await _run_start(state, known), known.schedule
    authority = state.tokens.read_authority(start.authority)
    times = await known.memo_value("times", ScheduleTimes(), type_hint=ScheduleTimes)
    return Schedule(
        name=known.id.partition("/")[2],
        capsule=start.capsule,
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
            if isinstance(result.action, client.ScheduleActionExecutionStartWorkflow)
        ),
    )


def _start_action(  # noqa: PLR0913, PLR0917 - what a start says
    state: State,
    caller: Principal,
    name: str,
    published: PublishedCapsule,
    inputs: dict[str, Any],
    budget: Amounts | None,
    account: str,
    not_before: int | None = None,
) -> client.ScheduleActionStartWorkflow:
    # Temporal appends `-` and the time of the start; no other schedule's runs have this prefix.
    run = f"{caller.tenant}/{published.capsule.metadata.name}/{name}"
    start = run_start(
        state,
        caller,
        published,
        run=f"{run}-",
        inputs=inputs,
        budget=budget,
        account=account,
        schedule=f"{caller.tenant}/{name}",
        not_before=not_before,
    )
    return client.ScheduleActionStartWorkflow(workflow_of(published.capsule), start, id=run, task_queue=QUEUE)


async def _run_start(state: State, known: client.ScheduleDescription) -> RunStart:
    """Return the input of a schedule's runs.

    One that is older than the binding of payloads can be read here, not by a run: to unpause the schedule renews it.
    """
    action = known.schedule.action
    if not isinstance(action, client.ScheduleActionStartWorkflow):
        raise Conflict(f"Schedule {known.id!r} starts no workflow: it was not created by this API.")
    converter = state.temporal.data_converter
    if any("bound-to" in payload.metadata for payload in action.args):
        converter = converter.with_context(WorkflowSerializationContext(state.temporal.namespace, action.id))
    start: RunStart = (await converter.decode(list(action.args), [RunStart]))[0]
    return start
