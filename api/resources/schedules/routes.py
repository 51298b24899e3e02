"""Schedules: starts of runs at given times. Temporal keeps them.

The id of a schedule is `{tenant}/{name}`. Its runs are `{tenant}/{capsule}/{name}-{time}`. The start authority of its
runs covers exactly that prefix and expires; unpausing renews it.
"""

from typing import Annotated

from fastapi import Path, Response

from api.access import Scheduler
from api.deps import StateDep
from api.middleware.policy_headers import POLICY_HEADERS, set_policy_headers
from api.middleware.problems import resource_router, responses
from api.parameters import KEY
from api.resources.schedules import service
from api.resources.schedules.schemas import Schedule, ScheduleRequest
from capsules.base_model import Page

router = resource_router("/v1/schedules", "schedules")

ScheduleName = Annotated[str, Path(pattern=KEY, description="The schedule's name.", examples=["monday-report"])]


@router.post("", status_code=201, responses=responses(404, 409))
async def create_schedule(body: ScheduleRequest, response: Response, caller: Scheduler, state: StateDep) -> Schedule:
    """Create a schedule that starts a capsule. Inputs are checked now; each run gets its budget when it starts."""
    schedule = await service.create(state, caller, body)
    response.headers["Location"] = f"/v1/schedules/{body.name}"
    return schedule


@router.get("")
async def list_schedules(caller: Scheduler, state: StateDep) -> Page[Schedule]:
    """List the tenant's schedules. A new one may appear after about a second."""
    return Page(items=await service.list_own(state, caller))


@router.get("/{name}", responses=responses(404))
async def show_schedule(name: ScheduleName, caller: Scheduler, state: StateDep) -> Schedule:
    """Show a schedule with its next times and last runs."""
    return await service.show(state, caller, name)


@router.post("/{name}/pause", responses=responses(404))
async def pause_schedule(name: ScheduleName, caller: Scheduler, state: StateDep) -> Schedule:
    """Pause a schedule: it starts no run until it is unpaused."""
    return await service.pause(state, caller, name)


@router.post("/{name}/unpause", responses=responses(404, 409))
async def unpause_schedule(name: ScheduleName, caller: Scheduler, state: StateDep) -> Schedule:
    """Unpause a schedule. Its runs now start in the caller's name, with a new start authority."""
    return await service.unpause(state, caller, name)


@router.post("/{name}/trigger", status_code=202, responses={202: POLICY_HEADERS, **responses(404)})
async def trigger_schedule(name: ScheduleName, caller: Scheduler, state: StateDep, response: Response) -> Schedule:
    """Start a run now, if the overlap policy allows it."""
    schedule, verdict = await service.trigger(state, caller, name)
    if verdict is not None:
        set_policy_headers(response, verdict)
    return schedule


@router.delete("/{name}", status_code=204, responses=responses(404))
async def delete_schedule(name: ScheduleName, caller: Scheduler, state: StateDep) -> None:
    """Delete a schedule. The runs that it started continue."""
    await service.delete(state, caller, name)
