"""Talking to Temporal: updates that a run answers, and Temporal's failures as our own errors."""

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
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from capsules.errors import Conflict, Invalid, NotFound, RateLimited, SomaError, Unavailable
from policy.temporal_errors import from_failure

ANSWER = timedelta(seconds=15)
"""How long a caller waits for a worker to answer. A run with no worker keeps its state; only the answer is missing."""

PASSING = {RPCStatusCode.UNAVAILABLE, RPCStatusCode.DEADLINE_EXCEEDED, RPCStatusCode.CANCELLED, RPCStatusCode.ABORTED}


async def update[M: BaseModel](  # noqa: PLR0913 - what, to whom, and how the answer reads
    client: Client, run: str, name: str, argument: BaseModel, *, key: str | None, answer: type[M]
) -> M:
    """Send an Update to a run and return its answer. The same `key` again returns the same answer.

    Raises as `translated` does.
    """
    with translated(f"run {run!r}"):
        result: M = await client.get_workflow_handle(run).execute_update(
            name, argument, id=key, result_type=answer, rpc_timeout=ANSWER
        )
    return result


async def query[M: BaseModel](client: Client, run: str, name: str, *, answer: type[M]) -> M:
    """Ask a run. Raises as `translated` does."""
    with translated(f"run {run!r}"):
        result: M = await client.get_workflow_handle(run).query(name, result_type=answer, rpc_timeout=ANSWER)
    return result


@contextlib.contextmanager
def translated(subject: str) -> Iterator[None]:
    """Raise our errors instead of Temporal's; `subject` names what was asked of it.

    The error of a refused Update is the one that the workflow raised, or Conflict. Raises Unavailable when no worker or
    no server answers, NotFound for what has ended or never began, RateLimited when Temporal is busy, and Invalid.
    """
    try:
        yield
    except WorkflowUpdateRPCTimeoutOrCancelledError as error:
        raise Unavailable(
            f"No worker answered for {subject} within {ANSWER.seconds} seconds; is one running? Try again."
        ) from error
    except WorkflowUpdateFailedError as error:
        raise _of_failure(error.cause, subject) from error
    except (WorkflowQueryFailedError, WorkflowQueryRejectedError) as error:
        raise Conflict(f"Temporal refused to ask {subject}: {error}") from error
    except ScheduleAlreadyRunningError as error:
        raise Conflict(f"There is a {subject} already; delete it first or use another name.") from error
    except RPCError as error:
        raise _of_rpc(error, subject) from error


def _of_failure(cause: BaseException | None, subject: str) -> SomaError:
    found = from_failure(cause)
    if found is not None:
        return found
    if isinstance(cause, ApplicationError):
        return Conflict(cause.message)
    return Conflict(f"{subject[:1].upper()}{subject[1:]} did not take it: {cause}")


def _of_rpc(error: RPCError, subject: str) -> SomaError:
    if error.status in PASSING:
        return Unavailable(f"Temporal cannot be reached or is busy: {error.message}")
    if error.status == RPCStatusCode.NOT_FOUND:
        return NotFound(f"Temporal knows no open {subject}: it has ended, or was never started.")
    if error.status == RPCStatusCode.ALREADY_EXISTS:
        return Conflict(f"There is a {subject} already.")
    if error.status == RPCStatusCode.RESOURCE_EXHAUSTED:
        return RateLimited(f"Temporal limits requests now: {error.message}")
    if error.status in {RPCStatusCode.INVALID_ARGUMENT, RPCStatusCode.FAILED_PRECONDITION}:
        return Invalid(f"Temporal refuses {subject}: {error.message}")
    return Unavailable(f"Temporal answered {error.status.name} for {subject}: {error.message}")
