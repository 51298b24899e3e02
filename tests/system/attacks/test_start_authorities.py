"""Attacks with a start authority that was copied from a schedule, a run or a parent (actor a).

These adversaries also have the codec's key, so that only the authority stands in their way.
"""

import asyncio
import uuid
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
from capsule_texts import composite, utility
from platforms import Platform
from servers import eventually
from temporalio.api.common.v1 import Payload
from temporalio.client import Client, ScheduleActionExecutionStartWorkflow, ScheduleHandle, WorkflowFailureError
from temporalio.converter import WorkflowSerializationContext
from temporalio.worker import Worker

from capsules.runs.run import RunStart
from somagent.identity.keys import KeyRing
from somagent.local_stack.bootstrap import TENANT
from somagent.temporal.client import connect
from workflows.authority_interceptor import AuthorityInterceptor
from workflows.capsule import RunCapsule

HELLO = "print('\"hello\"')"


@dataclass
class Thief:
    """Starts workflows with the input that a schedule holds."""

    client: Client
    schedule: str
    stolen: RunStart

    async def start(self, run: str, start: RunStart, *, workflow: str = "RunCapsule", queue: str = "capsules") -> str:
        """Start the workflow; return why it failed, with what caused that, or how it ended."""
        handle = await self.client.start_workflow(workflow, start, id=run, task_queue=queue, result_type=dict)
        try:
            ended = await asyncio.wait_for(handle.result(), 60)
        except WorkflowFailureError as error:
            cause, reasons = error.cause, []
            while cause is not None:
                reasons.append(str(cause))
                cause = cause.__cause__
            return ": ".join(reasons)
        return str(ended["status"])


def run_at(name: str, time: datetime | None = None) -> str:
    return f"{TENANT}/{name}/{name}-{(time or datetime.now(UTC)).strftime('%Y-%m-%dT%H:%M:%SZ')}"


async def admitted(platform: Platform, run: str) -> bool:
    """Return whether the gate let a run start."""
    answer = await platform.operator.get("/v1/runs", params={"capsule": run.split("/")[1]})
    if run not in [item["id"] for item in answer.json()["items"]]:
        return False
    return any(receipt["body"].get("decision") == "allow" for receipt in await platform.receipts(run))


async def read_input(client: Client, workflow: str, payloads: Sequence[Payload]) -> RunStart:
    """Return the input of a workflow, as whoever has the codec's key can read it."""
    converter = client.data_converter.with_context(WorkflowSerializationContext(client.namespace, workflow))
    start: RunStart
    [start] = await converter.decode(list(payloads), [RunStart])
    return start


async def started_by(schedule: ScheduleHandle) -> str:
    """Return the last run that a schedule started, as soon as there is one."""

    async def has_started() -> None:
        assert (await schedule.describe()).info.recent_actions

    await eventually(has_started, seconds=20)
    action = (await schedule.describe()).info.recent_actions[-1].action
    assert isinstance(action, ScheduleActionExecutionStartWorkflow)
    return action.workflow_id


@pytest.fixture
async def thief(platform: Platform) -> AsyncIterator[Thief]:
    """A thief with the input of a schedule that starts nothing by itself for a year."""
    name = f"paid-{uuid.uuid4().hex[:8]}"
    ref = await platform.publish(utility(name, HELLO))
    body = {"name": name, "capsule": ref, "inputs": {"n": 1}, "cron": ["0 0 1 1 *"]}
    created = await platform.operator.post("/v1/schedules", json=body)
    assert created.status_code == 201, created.text
    client = await connect(platform.settings, KeyRing.load(platform.settings.keys_dir))
    described = await client.get_schedule_handle(f"{TENANT}/{name}").describe()
    action: Any = described.schedule.action
    stolen = await read_input(client, action.id, action.args)
    yield Thief(client, name, stolen)
    await platform.operator.delete(f"/v1/schedules/{name}")


async def test_a_schedules_input_starts_no_run_outside_the_schedule(platform: Platform, thief: Thief) -> None:
    run = run_at(thief.schedule)
    assert "AuthorityRefused" in await thief.start(run, thief.stolen)
    assert not await admitted(platform, run)


async def test_it_starts_no_other_workflow_type(platform: Platform, thief: Thief) -> None:
    run = run_at(thief.schedule)
    assert "AuthorityRefused" in await thief.start(run, thief.stolen, workflow="RunProject")
    assert not await admitted(platform, run)


async def test_it_starts_nothing_with_other_inputs_or_another_budget(platform: Platform, thief: Thief) -> None:
    for change in ({"inputs": {"n": 666}}, {"budget": {"tool_calls": 2}}):
        run = run_at(thief.schedule)
        forged = RunStart.model_validate(thief.stolen.model_dump() | change)
        assert "AuthorityRefused" in await thief.start(run, forged)
        assert not await admitted(platform, run)
        await asyncio.sleep(1)  # the next id has another second


async def test_it_starts_nothing_on_another_queue(platform: Platform, thief: Thief) -> None:
    """The thief's own worker runs the workflow, so the thief decides what happens in it."""
    run, queue = run_at(thief.schedule), f"thief-{uuid.uuid4().hex}"
    async with Worker(thief.client, task_queue=queue, workflows=[RunCapsule], interceptors=[AuthorityInterceptor()]):
        assert "AuthorityRefused" in await thief.start(run, thief.stolen, queue=queue)
    assert not await admitted(platform, run)


async def test_it_starts_nothing_before_the_schedule_was_made(platform: Platform, thief: Thief) -> None:
    run = run_at(thief.schedule, datetime(2020, 1, 1, tzinfo=UTC))
    assert "AuthorityRefused" in await thief.start(run, thief.stolen)
    assert not await admitted(platform, run)


async def test_it_starts_nothing_after_the_schedule_was_deleted(platform: Platform, thief: Thief) -> None:
    assert (await platform.operator.delete(f"/v1/schedules/{thief.schedule}")).status_code == 204
    run = run_at(thief.schedule)
    assert "AuthorityRefused" in await thief.start(run, thief.stolen)
    assert not await admitted(platform, run)


async def test_a_schedule_that_is_made_again_by_hand_stays_revoked(platform: Platform, thief: Thief) -> None:
    schedule = thief.client.get_schedule_handle(f"{TENANT}/{thief.schedule}")
    kept = (await schedule.describe()).schedule
    assert (await platform.operator.delete(f"/v1/schedules/{thief.schedule}")).status_code == 204
    again = await thief.client.create_schedule(f"{TENANT}/{thief.schedule}", kept)
    await again.trigger()
    run = await started_by(again)
    with pytest.raises(WorkflowFailureError) as failed:
        await asyncio.wait_for(thief.client.get_workflow_handle(run).result(), 30)
    assert "revoked" in str(failed.value.cause)
    assert not await admitted(platform, run)
    await again.delete()


async def test_the_input_of_a_run_starts_it_once(platform: Platform, thief: Thief) -> None:
    """Terminated before its end and started again by hand: the second execution is another chain."""
    ref = await platform.publish(utility("started-twice", "import time; time.sleep(5); print('1')"))
    run = await platform.start(ref, {})
    await platform.until(run, "running")
    handle = thief.client.get_workflow_handle(run)
    first = (await handle.fetch_history()).events[0].workflow_execution_started_event_attributes
    stolen = await read_input(thief.client, run, first.input.payloads)
    await handle.terminate("by the thief")
    assert "was started before" in await thief.start(run, stolen)
    decided = [r["body"]["action"]["kind"] for r in await platform.receipts(run) if "decision" in r["body"]]
    assert decided.count("capsule.start") == 1


async def test_a_childs_input_starts_no_other_child(platform: Platform, thief: Thief) -> None:
    await platform.publish(utility("stolen-child", "import time; time.sleep(5); print('1')"))
    ref = await platform.publish(composite("robbed-parent", "- {id: one, capsule: stolen-child}"))
    run = await platform.start(ref, {})

    async def has_started() -> None:
        answer = await platform.operator.get("/v1/runs", params={"capsule": "stolen-child"})
        assert f"{run}/one" in [item["id"] for item in answer.json()["items"]]

    await eventually(has_started, seconds=60)
    child = thief.client.get_workflow_handle(f"{run}/one")
    first = (await child.fetch_history()).events[0].workflow_execution_started_event_attributes
    stolen = await read_input(thief.client, f"{run}/one", first.input.payloads)
    for another in (f"{run}/two", f"{run}/one/two"):
        assert "AuthorityRefused" in await thief.start(another, stolen)
        assert not await admitted(platform, another)
    assert (await platform.until(run))["status"] == "completed"
