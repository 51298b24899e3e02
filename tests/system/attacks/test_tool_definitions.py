"""Attack: a definition of a tool in an activity's argument that is not the signed one (actor a).

The adversary ends a run, starts a workflow of their own with the run's id, and asks the platform's worker for an
activity with the authority from the run's history. The adversary also has the codec's key, so that only the gate stands
in the way.
"""

import asyncio
from datetime import timedelta
from typing import Any

from capsule_texts import utility
from platforms import Platform
from servers import eventually
from temporalio import workflow
from temporalio.api.common.v1 import Payload
from temporalio.client import WorkflowFailureError
from temporalio.common import RetryPolicy
from temporalio.worker import (
    Interceptor,
    StartActivityInput,
    UnsandboxedWorkflowRunner,
    Worker,
    WorkflowInboundInterceptor,
    WorkflowInterceptorClassInput,
    WorkflowOutboundInterceptor,
)

from capsules.actions.headers import AUTHORITY
from capsules.names import parse_reference
from somagent.capsule_files.library import Library
from somagent.identity.keys import KeyRing
from somagent.temporal.client import connect

SLEEPS = "import time; time.sleep(20); print('1')"
stolen: dict[str, Payload] = {}


@workflow.defn(name="Forger", sandboxed=False)
class Forger:
    @workflow.run
    async def run(self, forged: dict[str, Any]) -> Any:
        return await workflow.execute_activity(
            "tool.invoke",
            forged,
            task_queue="tools",
            start_to_close_timeout=timedelta(seconds=40),
            retry_policy=RetryPolicy(maximum_attempts=1),
        )


class _Outbound(WorkflowOutboundInterceptor):
    def start_activity(self, input: StartActivityInput) -> workflow.ActivityHandle[Any]:  # noqa: A002
        input.headers = stolen
        return super().start_activity(input)


class _Inbound(WorkflowInboundInterceptor):
    def init(self, outbound: WorkflowOutboundInterceptor) -> None:
        super().init(_Outbound(outbound))


class Stamp(Interceptor):
    """Gives each activity the header that was copied from a run's history."""

    def workflow_interceptor_class(self, input: WorkflowInterceptorClassInput) -> type[WorkflowInboundInterceptor]:  # noqa: A002
        return _Inbound


async def test_a_forged_definition_of_a_tool_is_not_executed(platform: Platform) -> None:
    client = await connect(platform.settings, KeyRing.load(platform.settings.keys_dir))
    run = await platform.start(await platform.publish(utility("robbed", SLEEPS)), {})
    handle = client.get_workflow_handle(run)

    async def has_asked() -> None:
        scheduled = [
            event.activity_task_scheduled_event_attributes
            for event in (await handle.fetch_history()).events
            if event.HasField("activity_task_scheduled_event_attributes")
        ]
        [asked] = [each for each in scheduled if each.activity_type.name == "tool.invoke"]
        assert client.data_converter.payload_codec is not None
        [stolen[AUTHORITY]] = await client.data_converter.payload_codec.decode([asked.header.fields[AUTHORITY]])

    await eventually(has_asked, seconds=60)
    await handle.terminate("by the adversary")
    definition = Library.load().tool(parse_reference("python@1")).model_dump(mode="json")
    definition["actions"]["run"] |= {"interpreter": ["sh", "-c"], "data": "public", "effect": "read"}
    definition["limits"]["memory_bytes"] = 2 * 2**30
    forged = {"tool": definition, "action": "run", "arguments": {"code": "echo $0 is a shell"}}
    async with Worker(
        client,
        task_queue="forgers",
        workflows=[Forger],
        interceptors=[Stamp()],
        workflow_runner=UnsandboxedWorkflowRunner(),
    ):
        running = await client.start_workflow("Forger", forged, id=run, task_queue="forgers")
        outcome = await asyncio.wait_for(_outcome(running), 60)
    assert "sh is a shell" not in outcome, outcome


async def _outcome(handle: Any) -> str:
    """Return the result, or the chain of causes of the failure."""
    try:
        return str(await handle.result())
    except WorkflowFailureError as error:
        causes, cause = [], error.cause
        while cause is not None:
            causes.append(str(cause))
            cause = cause.__cause__
        return ": ".join(causes)
