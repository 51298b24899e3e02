"""Histories replay with the plugin, those of before it too, and a reset workflow is the same run."""

import uuid

from application_workflows import CallOneActivity
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest
from temporalio.client import Client

from capsules.audit.receipt import verify_chain


async def test_a_governed_history_replays(shop, order, tmp_path):
    handle = await shop.start("Fulfilment", order(), "4111111111111111")
    await handle.result()
    await shop.replay(handle, tmp_path / "history.json")


async def test_a_history_from_before_the_plugin_replays_with_it(shop, governed, tmp_path):
    plain = await Client.connect(shop.address)
    async with governed(plugin="neither") as before:
        handle = await plain.start_workflow(
            CallOneActivity.run, args=["ping", [], "patient"], id=before.queue, task_queue=before.queue
        )
        assert await handle.result() == "pong"
    await shop.replay(handle, tmp_path / "history.json")


async def test_a_workflow_that_is_reset_goes_on_in_its_run_with_new_effects(shop):
    handle = await shop.start("Stocktakings", {"last": 1})
    await handle.result()
    answer = await shop.client.workflow_service.reset_workflow_execution(
        ResetWorkflowExecutionRequest(
            namespace=shop.client.namespace,
            workflow_execution=WorkflowExecution(workflow_id=handle.id, run_id=handle.first_execution_run_id),
            reason="a test",
            workflow_task_finish_event_id=4,
            request_id=str(uuid.uuid4()),
        )
    )
    await shop.client.get_workflow_handle(handle.id, run_id=answer.run_id).result()
    run = await shop.run_of(handle)
    assert await shop.decisions(run) == ["allow", "outcome"] * 2
    assert verify_chain(await shop.receipts(run)) is None
