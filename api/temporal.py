"""Temporal calls of the API: start, Update and Query of workflows. An error of Temporal becomes a SomaError."""

import contextlib
from collections.abc import Iterator
from datetime import timedelta

from pydantic import BaseModel
from temporalio.client import (
    Client,
    ScheduleAlreadyRunningError,
    WorkflowQueryFailedError,
    WorkflowQueryRejectedError,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import ApplicationError, WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from capsules.errors import Conflict, Invalid, NotFound, RateLimited, SomaError, Unavailable
from policy.temporal_errors import from_failure

ANSWER = timedelta(seconds=15)
"""How long a caller waits for an answer of a worker."""

TRANSIENT = {RPCStatusCode.UNAVAILABLE, RPCStatusCode.DEADLINE_EXCEEDED, RPCStatusCode.CANCELLED, RPCStatusCode.ABORTED}


async def update[M: BaseModel](  # noqa: PLR0913 - the parts of an Update
    client: Client, run: str, name: str, argument: BaseModel, *, key: str | None, answer: type[M]
) -> M:
    """Send an Update to a run and return its answer. The same `key` again returns the same answer.

    Raises as `translated` does.
    """
    with translate_errors(f"run {run!r}"):
        result: M = await client.get_workflow_handle(run).execute_update(
            name, argument, id=key, result_type=answer, rpc_timeout=ANSWER
        )
    return result


async def query[M: BaseModel](client: Client, run: str, name: str, *, answer: type[M]) -> M:
    """Send a Query to a run and return its answer. Raises as `translated` does."""
    with translate_errors(f"run {run!r}"):
        result: M = await client.get_workflow_handle(run).query(name, result_type=answer, rpc_timeout=ANSWER)
    return result


async def start_workflow(  # noqa: PLR0913 - the parts of a start
    client: Client, workflow: str, argument: BaseModel, *, id_: str, queue: str, subject: str, summary: str
) -> None:
    """Start a workflow once: do nothing when a workflow with this id runs or has ended. Raises as `translated` does."""
    with translate_errors(subject), contextlib.suppress(WorkflowAlreadyStartedError):
        await client.start_workflow(
            workflow,
            argument,
            id=id_,
            task_queue=queue,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
            static_summary=summary,
        )


@contextlib.contextmanager
def translate_errors(subject: str) -> Iterator[None]:
    """Raise a SomaError instead of Temporal's error. `subject` names the workflow or schedule in the message.

    A refused Update raises the error of the workflow, or Conflict. Raises Unavailable when no worker or server answers,
    NotFound for a workflow that has ended or was never started, RateLimited when Temporal is busy, and Invalid.
    """
    try:
        yield
    except WorkflowUpdateRPCTimeoutOrCancelledError as error:
        raise Unavailable(
            f"No worker answered for {subject} within {ANSWER.seconds} seconds. Is a worker running? Try again."
        ) from error
    except WorkflowUpdateFailedError as error:
        raise _from_workflow_failure(error.cause, subject) from error
    except (WorkflowQueryFailedError, WorkflowQueryRejectedError) as error:
        raise Conflict(f"Temporal refused the query of {subject}: {error}") from error
    except ScheduleAlreadyRunningError as error:
        raise Conflict(f"There is a {subject} already; delete it first or use another name.") from error
    except RPCError as error:
        raise _from_rpc_error(error, subject) from error


def _from_workflow_failure(cause: BaseException | None, subject: str) -> SomaError:
    found = from_failure(cause)
    if found is not None:
        return found
    if isinstance(cause, ApplicationError):
        return Conflict(cause.message)
    return Conflict(f"{subject[:1].upper()}{subject[1:]} refused the request: {cause}")


def _from_rpc_error(error: RPCError, subject: str) -> SomaError:
    if error.status in TRANSIENT:
        return Unavailable(f"Temporal cannot be reached or is busy. Try again later: {error.message}")
    if error.status == RPCStatusCode.NOT_FOUND:
        return NotFound(f"Temporal has no open {subject}: it has ended, or was never started.")
    if error.status == RPCStatusCode.ALREADY_EXISTS:
        return Conflict(f"There is a {subject} already.")
    if error.status == RPCStatusCode.RESOURCE_EXHAUSTED:
        return RateLimited(f"Temporal limits requests now. Try again later: {error.message}")
    if error.status in {RPCStatusCode.INVALID_ARGUMENT, RPCStatusCode.FAILED_PRECONDITION}:
        return Invalid(f"Temporal refuses {subject}: {error.message}")
    return Unavailable(f"Temporal answered {error.status.name} for {subject}: {error.message}")
