"""Activity options: task queue, timeouts and retry policy of every activity call, by name."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.common import RetryPolicy

from capsules.actions.verdict import Outcome
from capsules.errors import TamperedContent

CAPSULES = "capsules"
SLM = "slm"
MEMORY = "memory"
TOOLS = "tools"
PLATFORM = "platform"
QUEUES = (CAPSULES, SLM, MEMORY, TOOLS, PLATFORM)

# While a server is down, attempts continue with growing intervals until the run's wall clock ends. An error that no
# retry can mend, such as a denial or bad arguments, is non-retryable where it is raised.
UNLIMITED_RETRY = RetryPolicy(
    initial_interval=timedelta(milliseconds=500), backoff_coefficient=2, maximum_interval=timedelta(seconds=10)
)


@dataclass(frozen=True)
class ActivityOptions:
    """Task queue, timeouts and retry policy of one activity call."""

    queue: str
    start_to_close: timedelta
    heartbeat: timedelta | None = None
    retry: RetryPolicy = field(default_factory=lambda: UNLIMITED_RETRY)


# Heartbeats come every two seconds at most. A worker that sends none for fifteen seconds counts as lost.
_HEARTBEAT_TIMEOUT = timedelta(seconds=15)

ADMISSION = ActivityOptions(PLATFORM, timedelta(minutes=1), _HEARTBEAT_TIMEOUT)
MODEL_CALL = ActivityOptions(SLM, timedelta(minutes=10), _HEARTBEAT_TIMEOUT)
MEMORY_CALL = ActivityOptions(MEMORY, timedelta(minutes=2), _HEARTBEAT_TIMEOUT)
TOOL_CALL = ActivityOptions(TOOLS, timedelta(hours=1, minutes=5), _HEARTBEAT_TIMEOUT)
PUBLICATION = ActivityOptions(PLATFORM, timedelta(minutes=1), _HEARTBEAT_TIMEOUT)
PROVING = ActivityOptions(
    PLATFORM,
    timedelta(minutes=30),
    _HEARTBEAT_TIMEOUT,
    RetryPolicy(initial_interval=timedelta(seconds=1), maximum_attempts=3),
)
"""Each proof has its own time limit. A prover that crashes its worker is tried three times at most."""
PLATFORM_ACTIVITY = ActivityOptions(PLATFORM, timedelta(seconds=30))
"""One short transaction, without heartbeat."""

EVENT_BUDGET = 4_000
"""History events after which a run continues as new. The server's limit is 51,200."""
RECENT_STEPS = 20
REMEMBERED_MESSAGES = 500
SAME_ACTION_LIMIT = 3
"""How often the same action may be chosen in a row before the run fails for lack of progress."""


async def platform_activity[*Ts, R](
    activity: Callable[[Any, *Ts], Awaitable[R]],
    *arguments: *Ts,
    summary: str | None = None,
    options: ActivityOptions = PLATFORM_ACTIVITY,
) -> R:
    """Return the result of a platform activity. Raises ActivityError when it fails for good, TamperedContent."""
    id_ = activity_id()
    result = await workflow.execute_activity_method(
        activity,
        args=arguments,
        activity_id=id_,
        task_queue=options.queue,
        start_to_close_timeout=options.start_to_close,
        heartbeat_timeout=options.heartbeat,
        retry_policy=options.retry,
        summary=summary,
    )
    if id_ is not None and result is None:
        # Every worker returns something, at least an Acknowledgement; the interceptor asks for that.
        raise TamperedContent(f"Activity {id_} was completed without a result: no worker of this platform did that.")
    return result


def activity_id() -> str | None:
    """Return the id of the next activity; None in a run whose history is older than such ids.

    The SDK's ids start anew in each execution. These never repeat, also after a reset, so that the payload codec, which
    binds arguments and result to the id, binds them to the execution as well.
    """
    return str(workflow.uuid4()) if workflow.patched("activity-ids") else None


def require_outcome(outcome: Outcome[Any] | None, id_: str | None) -> None:
    """Raise TamperedContent unless there is an outcome, of this workflow and of the activity with this id."""
    effect = outcome.effect if outcome else None
    # Between them stands the execution of the attempt, which is another one where an execution was reset.
    run, _, activity = (effect or "").rpartition("/")
    if id_ is not None and (run.rpartition("/")[0], activity) != (workflow.info().workflow_id, id_):
        raise TamperedContent(f"The outcome of {effect!r} came as that of activity {id_}.")
