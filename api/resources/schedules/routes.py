"""Schedules: runs that start by the clock, kept by Temporal, each tenant's apart.

A schedule's id is `{tenant}/{name}`, and its runs are `{tenant}/{capsule}/{name}-{time}`. The authority that its runs
start with covers exactly that prefix and expires; unpausing renews it.
"""

import contextlib
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Path, Response
from temporalio.client import ScheduleHandle, ScheduleUpdate, ScheduleUpdateInput

from api.access import Scheduler
from api.deps import Soma, State
from api.middleware.bodies import StorableJsonRoute
from api.middleware.policy_headers import POLICY_HEADERS, set_policy_headers
from api.middleware.problems import responses
from api.resources.audit.service import audited
from api.resources.runs.inputs import check_inputs
from api.resources.runs.service import account_for, find
from api.resources.schedules.service import (
    NewSchedule,
    Schedule,
    Times,
    action_of,
    describe,
    foreseen,
    list_own,
    schedule_of,
)
from api.run_urls import KEY
from api.temporal import ANSWER, translated
from capsules.names import parse_reference
from capsules.read_models import Page, Principal

router = APIRouter(prefix="/v1/schedules", tags=["schedules"], route_class=StorableJsonRoute)

Name = Annotated[str, Path(pattern=KEY, description="The schedule's name.", examples=["monday-report"])]


@router.post("", status_code=201, responses=responses(404, 409))
async def create_schedule(body: NewSchedule, response: Response, caller: Scheduler, soma: Soma) -> Schedule:
    """Start a capsule by the clock. Its inputs are checked now; its budget is carved when each run starts."""
    published = await find(soma, caller, parse_reference(body.capsule))
    check_inputs(published.capsule, body.inputs)
    account = await account_for(soma, caller.tenant, body.project)
    changes = _changing(
        soma, caller, "schedule.created", body.name, capsule=published.capsule.ref, digest=published.digest
    )
    async with changes:
        handle = await soma.temporal.create_schedule(
            f"{caller.tenant}/{body.name}",
            schedule_of(soma, caller, body, published, account),
            memo={"times": Times(cron=body.cron, every=body.every)},
            rpc_timeout=ANSWER,
        )
    response.headers["Location"] = f"/v1/schedules/{body.name}"
    return await _shown(soma, caller, handle)


@router.get("", responses=responses())
async def list_schedules(caller: Scheduler, soma: Soma) -> Page[Schedule]:
    """List the tenant's schedules. One made a moment ago may take a second to show here."""
    with translated("schedules"):
        return Page(items=await list_own(soma, caller))


@router.get("/{name}", responses=responses(404))
async def show_schedule(name: Name, caller: Scheduler, soma: Soma) -> Schedule:
    """Show a schedule: when it runs next, what it started last."""
    return await _shown(soma, caller, _handle(soma, caller, name))


@router.post("/{name}/pause", responses=responses(404))
async def pause_schedule(name: Name, caller: Scheduler, soma: Soma) -> Schedule:
    """Start nothing until it is unpaused."""
    handle = _handle(soma, caller, name)
    async with _changing(soma, caller, "schedule.paused", name):
        await handle.pause(note=f"Paused by {caller.subject}.", rpc_timeout=ANSWER)
    return await _shown(soma, caller, handle)


@router.post("/{name}/unpause", responses=responses(404, 409))
async def unpause_schedule(name: Name, caller: Scheduler, soma: Soma) -> Schedule:
    """Go on, from now on in the caller's name and with a fresh authority."""
    handle = _handle(soma, caller, name)
    async with _changing(soma, caller, "schedule.unpaused", name):
        known = await handle.describe(rpc_timeout=ANSWER)
        action = await action_of(soma, caller, name, known)

        async def renew(given: ScheduleUpdateInput) -> ScheduleUpdate:
            schedule = given.description.schedule
            schedule.action = action
            schedule.state.paused = False
            schedule.state.note = f"Unpaused by {caller.subject}."
            return ScheduleUpdate(schedule=schedule)

        await handle.update(renew, rpc_timeout=ANSWER)
    return await _shown(soma, caller, handle)


@router.post("/{name}/trigger", status_code=202, responses={202: POLICY_HEADERS, **responses(404)})
async def trigger_schedule(name: Name, caller: Scheduler, soma: Soma, response: Response) -> Schedule:
    """Start a run of it now, as its overlap policy allows."""
    handle = _handle(soma, caller, name)
    async with _changing(soma, caller, "schedule.triggered", name):
        verdict = await foreseen(soma, await handle.describe(rpc_timeout=ANSWER))
        await handle.trigger(rpc_timeout=ANSWER)
    if verdict is not None:
        set_policy_headers(response, verdict)
    return await _shown(soma, caller, handle)


@router.delete("/{name}", status_code=204, responses=responses(404))
async def delete_schedule(name: Name, caller: Scheduler, soma: Soma) -> None:
    """Delete a schedule. Runs that it started go on."""
    async with _changing(soma, caller, "schedule.deleted", name):
        await _handle(soma, caller, name).delete(rpc_timeout=ANSWER)


@contextlib.asynccontextmanager
async def _changing(soma: State, caller: Principal, action: str, name: str, **details: str) -> AsyncIterator[None]:
    async with audited(soma, caller, action, name, **details):
        with translated(f"schedule {name!r}"):
            yield


def _handle(soma: State, caller: Principal, name: str) -> ScheduleHandle:
    return soma.temporal.get_schedule_handle(f"{caller.tenant}/{name}")


async def _shown(soma: State, caller: Principal, handle: ScheduleHandle) -> Schedule:
    with translated(f"schedule {handle.id.partition('/')[2]!r}"):
        return await describe(soma, caller, await handle.describe(rpc_timeout=ANSWER))
