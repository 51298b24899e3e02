"""The ways around the gate are refused in the workflow itself, before anything is asked of a server."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta

import pytest
from temporalio import activity, workflow
from temporalio.client import Client, WorkflowFailureError
from temporalio.exceptions import ApplicationError
from temporalio.worker import Worker

from workflows.authority_interceptor import AuthorityInterceptor

QUEUE = "ways-around"


@activity.defn(name="local.effect")
async def local_effect() -> str:
    return "had an effect"


@dataclass
class Way:
    name: str


@workflow.defn(name="Rogue", sandboxed=False)
class Rogue:
    """Tries one way around. Not sandboxed: it is the test's, not the product's."""

    authority = "none"

    @workflow.run
    async def run(self, way: Way) -> str:
        match way.name:
            case "local activity":
                return await workflow.execute_local_activity(local_effect, start_to_close_timeout=timedelta(seconds=5))
            case "foreign child":
                return str(await workflow.execute_child_workflow("Rogue", way, id=f"{workflow.info().workflow_id}/x"))
            case "child of another name":
                return str(await workflow.execute_child_workflow("RunCapsule", way, id="elsewhere/x/1"))
            case "signal to another tenant":
                await workflow.get_external_workflow_handle("elsewhere/x/1").signal("approve", {})
            case "continue as another":
                workflow.continue_as_new(way, workflow="Whatever")
        return "got around"


@activity.defn(name="run.close")
async def close_a_run() -> str:
    return "closed somebody's run"


@workflow.defn(name="ActivateConstitution", sandboxed=False)
class Impostor:
    """Has the name of the platform's workflow, and tries what that one may not."""

    @workflow.run
    async def run(self, way: Way) -> str:
        match way.name:
            case "activity that is no step of its":
                return await workflow.execute_activity(close_a_run, start_to_close_timeout=timedelta(seconds=5))
            case "run as a child":
                return str(
                    await workflow.execute_child_workflow("RunCapsule", way, id=f"{workflow.info().workflow_id}/x")
                )
            case "signal to a run of the same tenant":
                await workflow.get_external_workflow_handle("tenant/x/1").signal("approve", {})
            case "continue as a run":
                workflow.continue_as_new(way, workflow="RunCapsule")
        return "got around"


@pytest.fixture(scope="module")
async def client(temporal_address: str) -> AsyncIterator[Client]:
    client = await Client.connect(temporal_address)
    async with Worker(
        client,
        task_queue=QUEUE,
        workflows=[Rogue, Impostor],
        activities=[local_effect, close_a_run],
        interceptors=[AuthorityInterceptor()],
    ):
        yield client


@pytest.mark.parametrize(
    "way",
    ["local activity", "foreign child", "child of another name", "signal to another tenant", "continue as another"],
)
async def test_a_way_around_is_refused(client: Client, way: str) -> None:
    run = f"tenant/rogue/{uuid.uuid4().hex}"
    with pytest.raises(WorkflowFailureError) as failed:
        await asyncio.wait_for(client.execute_workflow("Rogue", Way(way), id=run, task_queue=QUEUE), 20)
    cause = failed.value.cause
    assert isinstance(cause, ApplicationError)
    assert cause.type == "AuthorityRefused"


@pytest.mark.parametrize(
    "way",
    [
        "activity that is no step of its",
        "run as a child",
        "signal to a run of the same tenant",
        "continue as a run",
    ],
)
async def test_a_workflow_without_authority_does_nothing_but_its_steps(client: Client, way: str) -> None:
    run = f"tenant/_constitution/{uuid.uuid4().hex}"
    with pytest.raises(WorkflowFailureError) as failed:
        await asyncio.wait_for(client.execute_workflow("ActivateConstitution", Way(way), id=run, task_queue=QUEUE), 20)
    cause = failed.value.cause
    assert isinstance(cause, ApplicationError)
    assert cause.type == "AuthorityRefused"


async def test_the_rogue_gets_around_where_nobody_stands(client: Client, temporal_address: str) -> None:
    """The test can fail: without the stamp a local activity runs."""
    bare = await Client.connect(temporal_address)
    async with Worker(bare, task_queue=f"{QUEUE}-bare", workflows=[Rogue], activities=[local_effect]):
        run = f"tenant/rogue/{uuid.uuid4().hex}"
        answer = await bare.execute_workflow("Rogue", Way("local activity"), id=run, task_queue=f"{QUEUE}-bare")
    assert answer == "had an effect"
