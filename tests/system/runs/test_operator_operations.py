"""Operations that a person carries out in Temporal by hand: what each does to effects, budget and record.

`docs/threat-model.md` has a row for each test.
"""

import asyncio
import uuid
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
from capsule_texts import asks_first, many_steps, utility
from platforms import Platform
from sandboxes import running_containers
from servers import eventually
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import (
    DeleteWorkflowExecutionRequest,
    PauseActivityRequest,
    ResetWorkflowExecutionRequest,
    UnpauseActivityRequest,
)
from temporalio.client import Client, WorkflowFailureError, WorkflowUpdateFailedError
from temporalio.service import RPCError

from somagent.db.database import open_database
from somagent.db.gate.ledger import PostgresLedger
from somagent.db.gate.run_projection import PostgresRuns
from somagent.identity.keys import KeyRing
from somagent.runs.ledger_recovery import LedgerRecovery
from somagent.runs.run_reconciler import RunReconciler
from somagent.temporal.client import connect

SLEEPS = "import time; time.sleep({seconds}); print('{{}}')"
STEPS: list[dict[str, object]] = [
    {"id": f"step_{number}", "use": "python/run", "with": {"code": code}}
    for number, code in enumerate(("print(1)", "print(2)", "import time; time.sleep(120)"))
]
NOTHING = {"tokens": 0, "micro_usd": 0, "tool_calls": 0}


@pytest.fixture(scope="module")
async def temporal(platform: Platform) -> Client:
    return await connect(platform.settings, KeyRing.load(platform.settings.keys_dir))


async def reset(client: Client, run: str, execution: str, event: int) -> str:
    """Reset an execution to the end of a workflow task; return the id of the new execution."""
    answer = await client.workflow_service.reset_workflow_execution(
        ResetWorkflowExecutionRequest(
            namespace=client.namespace,
            workflow_execution=WorkflowExecution(workflow_id=run, run_id=execution),
            reason="by an operator",
            workflow_task_finish_event_id=event,
            request_id=uuid.uuid4().hex,
        )
    )
    return answer.run_id


async def allowed(platform: Platform, run: str) -> list[dict[str, Any]]:
    """Return the decisions that let an action of the run through."""
    return [r["body"] for r in await platform.receipts(run) if r["body"].get("decision") == "allow"]


async def check_record(platform: Platform, run: str) -> None:
    """Assert that the record and the ledger are whole, and that nothing of the run is reserved."""
    for command in (("audit", "verify", run), ("budget", "check")):
        result = await platform.cli(*command)
        assert result.code == 0, result
    assert (await platform.account(run))["reserved"] == NOTHING


async def test_a_reset_to_each_point_repeats_what_comes_after_it_and_pays_for_it(
    platform: Platform, temporal: Client
) -> None:
    run = await platform.start(
        await platform.publish(many_steps("three-steps", STEPS).replace("tool_calls: 3", "tool_calls: 100")), {}
    )
    handle = temporal.get_workflow_handle(run)

    async def waits_in(execution: str, tools: int) -> None:
        actions = Counter(b["action"]["kind"] for b in await allowed(platform, run) if b["execution"] == execution)
        assert actions["tool.invoke"] == tools

    first = (await handle.describe()).run_id
    await eventually(lambda: waits_in(first, 3), seconds=60)
    scheduled, points = {}, []
    async for event in handle.fetch_history_events():
        if event.HasField("workflow_task_completed_event_attributes"):
            points.append(event.event_id)
        elif event.HasField("activity_task_scheduled_event_attributes"):
            asked = event.activity_task_scheduled_event_attributes
            scheduled[event.event_id] = (asked.activity_type.name, asked.workflow_task_completed_event_id)
    assert len(points) >= 4
    for point in points:
        execution = await reset(temporal, run, first, point)
        after = Counter(name for name, task in scheduled.values() if task >= point)
        await eventually(lambda: waits_in(execution, after["tool.invoke"]), seconds=60)  # noqa: B023 - awaited here
        repeated = Counter(b["action"]["kind"] for b in await allowed(platform, run) if b["execution"] == execution)
        assert repeated["capsule.start"] == after["capsule.start"]
    assert (await platform.show(run))["status"] == "running"
    await platform.tell(run, "cancel")
    assert (await platform.until(run))["status"] == "cancelled"
    tools = sum(b["action"]["kind"] == "tool.invoke" for b in await allowed(platform, run))
    spent = (await platform.account(run))["spent"]["tool_calls"]
    assert spent == tools - 1, "each counts, also those that a reset interrupted; only the cancelled one does not"
    await check_record(platform, run)


async def test_a_run_that_has_ended_cannot_be_reset_into_a_second_life(platform: Platform, temporal: Client) -> None:
    run = (await platform.run(await platform.publish(utility("ended", "print(1)")), {}))["id"]
    handle = temporal.get_workflow_handle(run)
    receipts, account = await platform.receipts(run), await platform.account(run)
    execution = (await handle.describe()).run_id
    points = [
        event.event_id
        async for event in handle.fetch_history_events()
        if event.HasField("workflow_task_completed_event_attributes")
    ]
    outcomes = []
    for point in points:
        again = temporal.get_workflow_handle(run, run_id=await reset(temporal, run, execution, point))
        try:
            await asyncio.wait_for(again.result(), 60)
            outcomes.append("completed")  # only its closing was left, which changes nothing the second time
        except WorkflowFailureError as error:
            outcomes.append("refused" if "has ended" in str(error.cause) else str(error.cause))
    assert set(outcomes) <= {"refused", "completed"}
    assert outcomes[0] == "refused"
    assert await platform.receipts(run) == receipts
    assert await platform.account(run) == account
    assert (await platform.show(run))["status"] == "completed"
    await check_record(platform, run)


async def test_a_terminated_run_is_closed_and_its_open_effect_counts(platform: Platform, temporal: Client) -> None:
    run = await start_sleeping(platform, "terminated", 60)
    await temporal.get_workflow_handle(run).terminate("by an operator")
    ended = await platform.until(run, seconds=60)
    assert (ended["status"], ended["reason"]) == ("failed", "The workflow was terminated in Temporal.")
    assert ended["spent"]["tool_calls"] == 1, "it may have happened"
    await check_record(platform, run)


async def test_a_run_that_is_cancelled_in_temporal_stops_its_effect_and_closes(
    platform: Platform, temporal: Client
) -> None:
    run = await start_sleeping(platform, "cancelled", 60)
    await temporal.get_workflow_handle(run).cancel()
    ended = await platform.until(run, seconds=60)
    assert (ended["status"], ended["spent"]["tool_calls"]) == ("cancelled", 0)
    assert not running_containers(run)
    await check_record(platform, run)


async def test_a_signal_or_update_without_an_attestation_decides_nothing(platform: Platform, temporal: Client) -> None:
    run = await platform.start(await platform.publish(asks_first("asks-operator")), {})
    await platform.until(run, "awaiting_approval")
    [approval] = await platform.approvals(run)
    handle = temporal.get_workflow_handle(run)
    forged = {"approval": approval["id"], "action": approval["action"], "token": "forged", "comment": ""}
    await handle.signal("approve", forged)
    await handle.signal("no-such-signal", {})
    made = await handle.execute_update("approve", forged, result_type=dict)
    assert "cannot be read" in made["problem"]
    with pytest.raises(WorkflowUpdateFailedError):
        await handle.execute_update("no-such-update", {}, result_type=dict)
    assert (await platform.show(run))["status"] == "awaiting_approval"
    assert [a["id"] for a in await platform.approvals(run)] == [approval["id"]]
    await platform.tell(run, "cancel")
    await platform.until(run)
    assert "python@1.0.0/run" not in {b["action"]["target"] for b in await allowed(platform, run)}
    await check_record(platform, run)


async def test_a_paused_activity_goes_on_as_the_same_effect(platform: Platform, temporal: Client) -> None:
    run = await start_sleeping(platform, "paused-activity", 5)
    execution = WorkflowExecution(workflow_id=run)
    named = {"namespace": temporal.namespace, "execution": execution, "identity": "operator", "type": "tool.invoke"}
    await temporal.workflow_service.pause_activity(PauseActivityRequest(**named, reason="by an operator"))
    await asyncio.sleep(8)  # longer than it sleeps
    assert (await platform.show(run))["status"] == "running"
    await temporal.workflow_service.unpause_activity(UnpauseActivityRequest(**named))
    ended = await platform.until(run, seconds=60)
    assert (ended["status"], ended["spent"]["tool_calls"]) == ("completed", 1), ended["reason"]
    effects = {
        (b["execution"], b["activity"]) for b in await allowed(platform, run) if b["action"]["kind"] == "tool.invoke"
    }
    assert len(effects) == 1
    await check_record(platform, run)


async def test_a_deleted_workflow_leaves_its_record_and_gives_its_budget_back(
    platform: Platform, temporal: Client
) -> None:
    run = await start_sleeping(platform, "deleted", 60)
    await temporal.workflow_service.delete_workflow_execution(
        DeleteWorkflowExecutionRequest(
            namespace=temporal.namespace, workflow_execution=WorkflowExecution(workflow_id=run)
        )
    )

    async def is_gone() -> None:
        with pytest.raises(RPCError, match="not found"):
            await temporal.get_workflow_handle(run).describe()

    await eventually(is_gone, seconds=30)
    settings = platform.settings
    async with open_database(settings.database("relay")) as outbox, open_database(settings.database("app")) as db:
        recovery = LedgerRecovery(temporal, db, PostgresLedger(db))
        now = timedelta(0)
        # The relay's own waits ten minutes for a workflow that Temporal does not know.
        reconciler = RunReconciler(temporal, outbox, PostgresRuns(db), recovery, minimum_age=now, abandoned_age=now)
        await reconciler.sweep()
    ended = await platform.until(run, seconds=60)
    assert (ended["status"], ended["spent"]["tool_calls"]) == ("failed", 1)
    await check_record(platform, run)


async def start_sleeping(platform: Platform, name: str, seconds: int) -> str:
    """Start a run and return it when its program sleeps."""
    run = await platform.start(await platform.publish(utility(name, SLEEPS.format(seconds=seconds))), {})

    async def has_begun() -> None:
        assert running_containers(run)

    await eventually(has_begun, seconds=60)
    return run
