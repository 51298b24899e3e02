"""Workflows of a governed application: one activity by name, one in an Update, and one in a child that is abandoned.

They run in Temporal's sandbox.
"""

from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError

from somagent.governance import execute_with_approval


@workflow.defn
class CallOneActivity:
    """Asks for one activity by name, in the way that `how` names, as an application's own workflow would."""

    @workflow.run
    async def run(self, kind: str, arguments: list[Any], how: str) -> Any:
        options: dict[str, Any] = {"start_to_close_timeout": timedelta(seconds=20)}
        if how == "fails fast":
            options["retry_policy"] = RetryPolicy(initial_interval=timedelta(milliseconds=50), maximum_attempts=3)
        try:
            if how == "local":
                return await workflow.execute_local_activity(kind, args=arguments, **options)
            if how.startswith("waits"):
                return await execute_with_approval(
                    lambda: workflow.execute_activity(kind, args=arguments, **options),
                    retry_interval=timedelta(milliseconds=200) if how == "waits itself" else timedelta(hours=1),
                )
            while how == "tries until it is paid":
                try:
                    return await workflow.execute_activity(kind, args=arguments, **options)
                except ActivityError:
                    await workflow.sleep(0.2)
            return await workflow.execute_activity(kind, args=arguments, **options)
        except ActivityError as error:
            cause = error.cause
            assert isinstance(cause, ApplicationError)
            return {"refused": cause.type, "why": cause.message, "final": cause.non_retryable}


@workflow.defn
class CountOnUpdate:
    """Counts a shelf when it gets the Update `count`, then ends."""

    def __init__(self) -> None:
        self.done = False

    @workflow.run
    async def run(self) -> None:
        await workflow.wait_condition(lambda: self.done)

    @workflow.update
    async def count(self, shelf: int) -> Any:
        counted = await workflow.execute_activity("count_shelf", shelf, start_to_close_timeout=timedelta(seconds=20))
        self.done = True
        return counted


@workflow.defn
class AbandonChild:
    """Starts `CallOneActivity` as a child that goes on without it, counts a shelf and ends."""

    @workflow.run
    async def run(self, kind: str, arguments: list[Any], how: str) -> str:
        child = await workflow.start_child_workflow(
            CallOneActivity.run,
            args=[kind, arguments, how],
            id=f"left by {workflow.info().workflow_id}",
            parent_close_policy=workflow.ParentClosePolicy.ABANDON,
        )
        await workflow.execute_activity("count_shelf", 1, start_to_close_timeout=timedelta(seconds=20))
        return child.id
