"""Schedules on a real Temporal: made, seen, paused, triggered, deleted, each tenant's apart."""

import asyncio

import httpx
import pytest
from api_callers import Callers, assert_problem, publish
from temporalio.converter import WorkflowSerializationContext
from temporalio.service import RPCError

from api.deps import State
from capsules.runs.run import RunStart


async def make(http: httpx.AsyncClient, callers: Callers, **changes: object) -> httpx.Response:
    body = {"name": "nightly", "capsule": "hello@1", "cron": ["0 3 * * *"], "inputs": {"text": "a"}} | changes
    return await http.post("/v1/schedules", json=body, headers=callers.all())


async def test_a_schedule_is_kept_with_its_policy_and_a_narrow_authority(
    http: httpx.AsyncClient, callers: Callers, state: State, tenant: str
) -> None:
    await publish(http, callers)
    made = await make(http, callers, overlap="buffer_one", note="Every night.")
    assert made.status_code == 201, made.text
    schedule = made.json()
    assert made.headers["location"] == "/v1/schedules/nightly"
    assert (schedule["capsule"], schedule["overlap"], schedule["catch_up"]) == ("hello@1.0.0", "buffer_one", 600)
    assert schedule["cron"] == ["0 3 * * *"]
    assert schedule["next"][0].endswith("03:00:00Z")
    described = await state.temporal.get_schedule_handle(f"{tenant}/nightly").describe()
    action = described.schedule.action
    context = WorkflowSerializationContext(state.temporal.namespace, action.id)
    (start,) = await state.temporal.data_converter.with_context(context).decode(list(action.args), [RunStart])
    authority = state.tokens.verify(start.authority)
    assert (authority.kind, authority.prefix, authority.run) == ("start", True, f"{tenant}/hello/nightly-")
    assert authority.covers_run(f"{tenant}/hello/nightly-2030-01-01T03:00:00Z")
    assert not authority.covers_run(f"{tenant}/hello/nightlyx")
    assert list(authority.capsules) == ["hello@1.0.0"]
    assert start.authority not in str(described.raw_description)  # Temporal keeps it encrypted


async def test_a_schedule_starts_runs_under_the_tenants_prefix(
    http: httpx.AsyncClient, callers: Callers, state: State, tenant: str
) -> None:
    await publish(http, callers)
    assert (await make(http, callers)).status_code == 201
    assert (await http.post("/v1/schedules/nightly/trigger", headers=callers.all())).status_code == 202
    for _ in range(100):
        shown = (await http.get("/v1/schedules/nightly", headers=callers.all())).json()
        if shown["recent"]:
            break
        await asyncio.sleep(0.1)
    (run,) = shown["recent"]
    assert run.startswith(f"{tenant}/hello/nightly-")
    described = await state.temporal.get_workflow_handle(run).describe()
    assert described.workflow_type == "RunCapsule"


async def test_pausing_unpausing_and_deleting(
    http: httpx.AsyncClient, callers: Callers, state: State, tenant: str
) -> None:
    await publish(http, callers)
    assert (await make(http, callers)).status_code == 201
    paused = await http.post("/v1/schedules/nightly/pause", headers=callers.all())
    assert (paused.json()["paused"], paused.json()["actor"]) == (True, "ana")
    unpaused = await http.post("/v1/schedules/nightly/unpause", headers=callers.all("bob"))
    assert (unpaused.json()["paused"], unpaused.json()["actor"]) == (False, "bob")
    assert (await http.delete("/v1/schedules/nightly", headers=callers.all())).status_code == 204
    assert_problem(await http.get("/v1/schedules/nightly", headers=callers.all()), 404, "NotFound", "nightly")
    assert_problem(await http.delete("/v1/schedules/nightly", headers=callers.all()), 404, "NotFound", "nightly")


async def test_schedules_of_another_tenant_do_not_exist(
    http: httpx.AsyncClient, callers: Callers, strangers: Callers
) -> None:
    await publish(http, callers)
    assert (await make(http, callers)).status_code == 201
    stranger = strangers.all()
    assert_problem(await http.get("/v1/schedules/nightly", headers=stranger), 404, "NotFound")
    assert_problem(await http.delete("/v1/schedules/nightly", headers=stranger), 404, "NotFound")
    assert_problem(await http.post("/v1/schedules/nightly/trigger", headers=stranger), 404, "NotFound")
    for _ in range(100):
        mine = (await http.get("/v1/schedules", headers=callers.all())).json()["items"]
        if mine:
            break
        await asyncio.sleep(0.1)
    assert [item["name"] for item in mine] == ["nightly"]
    assert (await http.get("/v1/schedules", headers=stranger)).json()["items"] == []


async def test_what_is_wrong_with_a_schedule_is_named_and_nothing_is_made(
    http: httpx.AsyncClient, callers: Callers, state: State, tenant: str
) -> None:
    await publish(http, callers)
    assert_problem(await make(http, callers, cron=["every day"]), 422, "Invalid", "body.cron")
    assert_problem(await make(http, callers, cron=["99 3 * * *"]), 422, "Invalid", "nightly")
    assert_problem(await make(http, callers, cron=[]), 422, "Invalid", "cron")
    assert_problem(await make(http, callers, inputs={}), 422, "Invalid", "inputs.text")
    assert_problem(await make(http, callers, capsule="unknown@1"), 404, "NotFound", "unknown")
    assert_problem(await make(http, callers, name="a/b"), 422, "Invalid", "body.name")
    with pytest.raises(RPCError, match="not found"):
        await state.temporal.get_schedule_handle(f"{tenant}/nightly").describe()
    assert (await make(http, callers)).status_code == 201
    assert_problem(await make(http, callers), 409, "Conflict", "nightly")
