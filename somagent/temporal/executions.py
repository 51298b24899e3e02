"""Workflow executions as the Temporal server describes them: their type, task queue, parent and first execution."""

from dataclasses import dataclass

from temporalio.client import Client
from temporalio.common import SearchAttributeKey
from temporalio.service import RPCError, RPCStatusCode

from capsules.errors import AuthorityRefused, Unavailable

SCHEDULED_BY = SearchAttributeKey.for_keyword("TemporalScheduledById")


@dataclass(frozen=True)
class Execution:
    """An execution of a workflow."""

    namespace: str
    workflow_id: str
    workflow_type: str
    task_queue: str
    first_run_id: str
    """The first execution of its chain: continue-as-new, retries and resets keep it."""
    parent_workflow_id: str
    """Empty without a parent."""
    root_workflow_id: str
    root_run_id: str
    schedule: str | None
    """The id of the schedule that started it."""

    def require_started_as(self, workflow_type: str, task_queue: str) -> None:
        """Raise AuthorityRefused when it was started as another type or on another queue."""
        if (self.workflow_type, self.task_queue) != (workflow_type, task_queue):
            raise AuthorityRefused(
                f"The authority is for workflow {workflow_type!r} on queue {task_queue!r}; "
                f"this is {self.workflow_type!r} on {self.task_queue!r}."
            )

    async def require_schedule(self, client: Client, schedule: str) -> None:
        """Raise AuthorityRefused unless this schedule started it and is still there. Raises Unavailable."""
        if self.schedule != schedule:
            raise AuthorityRefused(
                f"The authority is for starts by schedule {schedule!r}; "
                f"{self.schedule or 'nobody'!r} started {self.workflow_id!r}."
            )
        try:
            await client.get_schedule_handle(schedule).describe()
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                raise AuthorityRefused(f"Schedule {schedule!r} was deleted, and its authority with it.") from error
            raise Unavailable(f"Temporal cannot describe schedule {schedule!r}: {error.message}") from error


async def describe(client: Client, workflow_id: str, run_id: str | None) -> Execution:
    """Return an execution. Raises AuthorityRefused if Temporal knows none, Unavailable if it does not answer."""
    try:
        description = await client.get_workflow_handle(workflow_id, run_id=run_id).describe()
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            raise AuthorityRefused(f"Temporal knows no workflow {workflow_id!r} with the run id {run_id!r}.") from error
        raise Unavailable(f"Temporal cannot describe workflow {workflow_id!r}: {error.message}") from error
    info = description.raw_description.workflow_execution_info
    root = info.root_execution
    return Execution(
        namespace=client.namespace,
        workflow_id=workflow_id,
        workflow_type=info.type.name,
        task_queue=description.raw_description.execution_config.task_queue.name,
        first_run_id=info.first_run_id or info.execution.run_id,
        parent_workflow_id=info.parent_execution.workflow_id,
        root_workflow_id=root.workflow_id or workflow_id,
        root_run_id=root.run_id or info.execution.run_id,
        schedule=description.typed_search_attributes.get(SCHEDULED_BY),
    )
