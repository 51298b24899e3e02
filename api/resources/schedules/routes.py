"""Schedules: runs that start by time, kept by Temporal, apart for each tenant.

The id of a schedule is `{tenant}/{name}`; its runs are `{tenant}/{capsule}/{name}-{time}`. The start authority of its
runs covers exactly that prefix and expires; unpausing renews it.
"""

from typing import Annotated

from fastapi import APIRouter, Path, Response

from api.access import Scheduler
from api.deps import Soma
from api.middleware.bodies import StorableJsonRoute
from api.middleware.policy_headers import POLICY_HEADERS, set_policy_headers
from api.middleware.problems import responses
from api.resources.schedules import service
from api.resources.schedules.schemas import NewSchedule, Schedule
from api.run_urls import KEY
from api.temporal import ANSWER, translated
from capsules.base_model import Page

router = APIRouter(prefix="/v1/schedules", tags=["schedules"], route_class=StorableJsonRoute)

ScheduleName = Annotated[str, Path(pattern=KEY, description="The schedule's name.", examples=["monday-report"])]


@router.post("", status_code=201, responses=responses(404, 409))
async def create_schedule(body: NewSchedule, response: Response, caller: Scheduler, soma: Soma) -> Schedule:
    """Create a schedule that starts a capsule. Inputs are checked now; budgets are carved at each start."""
    schedule = await service.create(soma, caller, body)
    response.headers["Location"] = f"/v1/schedules/{body.name}"
    return schedule


@router.get("", responses=responses())
async def list_schedules(caller: Scheduler, soma: Soma) -> Page[Schedule]:
    """List the tenant's schedules. A new one may take a second to appear."""
    with translated("schedules"):
        return Page(items=await service.list_own(soma, caller))


@router.get("/{name}", responses=responses(404))
async def show_schedule(name: ScheduleName, caller: Scheduler, soma: Soma) -> Schedule:
    """Show a schedule with its next times and last runs."""
    return await service.show(soma, caller, service.handle_of(soma, caller, name))


@router.post("/{name}/pause", responses=responses(404))
async def pause_schedule(name: ScheduleName, caller: Scheduler, soma: Soma) -> Schedule:
    """Pause: start nothing until it is unpaused."""
    handle = service.handle_of(soma, caller, name)
    async with service.changing(soma, caller, "schedule.paused", name):
        await handle.pause(note=f"Paused by {caller.subject}.", rpc_timeout=ANSWER)
    return await service.show(soma, caller, handle)


@router.post("/{name}/unpause", responses=responses(404, 409))
async def unpause_schedule(name: ScheduleName, caller: Scheduler, soma: Soma) -> Schedule:
    """Unpause, from now on in the caller's name and with a new start authority."""
    return await service.unpause(soma, caller, name)


@router.post("/{name}/trigger", status_code=202, responses={202: POLICY_HEADERS, **responses(404)})
async def trigger_schedule(name: ScheduleName, caller: Scheduler, soma: Soma, response: Response) -> Schedule:
    """Start a run now, if the overlap policy allows it."""
    handle = service.handle_of(soma, caller, name)
    async with service.changing(soma, caller, "schedule.triggered", name):
        verdict = await service.preflight(soma, await handle.describe(rpc_timeout=ANSWER))
        await handle.trigger(rpc_timeout=ANSWER)
    if verdict is not None:
        set_policy_headers(response, verdict)
    return await service.show(soma, caller, handle)


@router.delete("/{name}", status_code=204, responses=responses(404))
async def delete_schedule(name: ScheduleName, caller: Scheduler, soma: Soma) -> None:
    """Delete a schedule. Runs that it started continue."""
    async with service.changing(soma, caller, "schedule.deleted", name):
        await service.handle_of(soma, caller, name).delete(rpc_timeout=ANSWER)
