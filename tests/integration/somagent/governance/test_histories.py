"""Histories replay with the plugin, those of before it too, and a reset workflow is the same run."""

import uuid
from concurrent.futures import ThreadPoolExecutor

from foreign_calls import Calls
from orders.model import Stocktaking
from orders.workflows import Fulfilment, Shipping, Stocktakings
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest
from temporalio.client import Client
from temporalio.worker import Replayer, Worker

from capsules.audit.receipt import verify_chain


async def test_a_governed_history_replays(shop, order):
    handle = await shop.start(Fulfilment.run, order(), "4111111111111111")
    await handle.result()
    replayer = Replayer(workflows=[Fulfilment, Shipping], plugins=[shop.plugin])
    await replayer.replay_workflow(await handle.fetch_history())


async def test_a_history_from_before_the_plugin_replays_with_it(shop, activities):
    plain = await Client.connect(shop.address)
    queue = f"before-{uuid.uuid4().hex[:8]}"
    async with Worker(
        plain,
        task_queue=queue,
        workflows=[Calls],
        activities=activities(shop.shop),
        activity_executor=ThreadPoolExecutor(1),
    ):
        handle = await plain.start_workflow(Calls.run, args=["ping", [], "patient"], id=queue, task_queue=queue)
        assert await handle.result() == "pong"
    replayer = Replayer(workflows=[Calls], plugins=[shop.plugin])
    await replayer.replay_workflow(await handle.fetch_history())


async def test_a_workflow_that_is_reset_goes_on_in_its_run_with_new_effects(shop):
    handle = await shop.start(Stocktakings.run, Stocktaking(last=1))
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
