"""Every way in which an application starts a workflow carries an authority; a schedule's covers its starts alone."""

import uuid

import pytest
from application_workflows import CountOnUpdate
from servers import eventually
from temporalio.client import Schedule, ScheduleActionStartWorkflow, ScheduleSpec, WithStartWorkflowOperation
from temporalio.common import WorkflowIDConflictPolicy

from capsules.errors import Invalid
from capsules.governance.application import Application, segment
from somagent.governance import on_behalf_of


async def test_a_start_with_a_signal_is_covered(shop, order):
    bought = order()
    handle = await shop.client.start_workflow(
        "Fulfilment",
        args=[bought, "4111"],
        id=f"signalled {bought['id']}",
        task_queue=shop.queue,
        start_signal="change_address",
        start_signal_args=[{"name": "Ada", "street": "2 Side St", "city": "Ghent"}],
    )
    assert (await handle.result())["parcel"]["city"] == "Ghent"


async def test_a_start_with_an_update_is_covered(shop):
    operation = WithStartWorkflowOperation(
        CountOnUpdate.run,
        id=f"asked {uuid.uuid4().hex[:8]}",
        task_queue=shop.queue,
        id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
    )
    counted = await shop.client.execute_update_with_start_workflow(
        CountOnUpdate.count, 4, start_workflow_operation=operation
    )
    assert counted == 40


async def test_the_starts_of_a_schedule_are_covered(shop):
    name = f"nightly-{uuid.uuid4().hex[:8]}"
    action = ScheduleActionStartWorkflow("Stocktakings", {"last": 1}, id=name, task_queue=shop.queue)
    with on_behalf_of("night-shift"):
        handle = await shop.client.create_schedule(name, Schedule(action=action, spec=ScheduleSpec()))
    await handle.trigger()

    async def started() -> None:
        assert (await handle.describe()).info.recent_actions

    await eventually(started, seconds=20)
    execution = (await handle.describe()).info.recent_actions[0].action
    result = await shop.client.get_workflow_handle(execution.workflow_id).result()
    await handle.delete()
    assert result == {"shelf-1": 10}
    [run] = [each for each in await shop.runs() if each.inputs["workflow_id"] == execution.workflow_id]
    assert run.actor == "night-shift"
    assert await shop.decisions(run.id) == ["allow", "outcome"]


async def test_a_schedule_whose_runs_could_not_be_told_from_others_is_refused(shop):
    action = ScheduleActionStartWorkflow("Stocktakings", {}, id="every night", task_queue=shop.queue)
    with pytest.raises(Invalid, match="every night"):
        await shop.client.create_schedule("spaces", Schedule(action=action, spec=ScheduleSpec()))


@pytest.mark.parametrize("workflow_id", ["order 7", "a/b", "x" * 900, "", "sha256:abc", "Zürich"])
def test_any_workflow_id_becomes_one_part_of_a_run_that_a_url_can_hold(workflow_id):
    application = Application(tenant="t" * 63, name="a" * 63)
    run = application.run(workflow_id, str(uuid.uuid4()))
    assert run.count("/") == 3
    assert len(run) <= 255
    assert run.isascii()
    assert segment(workflow_id) != segment(workflow_id + "x")


def test_a_plain_workflow_id_stays_readable():
    assert Application(tenant="acme", name="orders").run("order-7", "r1") == "acme/orders/order-7/r1"
