"""Every timeout and retry that a workflow uses, by name. A test refuses an activity call without one."""

from dataclasses import dataclass, field
from datetime import timedelta

from temporalio.common import RetryPolicy

CAPSULES = "capsules"
SLM = "slm"
MEMORY = "memory"
TOOLS = "tools"
PLATFORM = "platform"

# A part that is down comes back: attempts go on, ever more slowly, until the run's wall clock ends. What retrying
# cannot help (a denial, bad arguments, a bug after five attempts) is marked non-retryable where it is raised.
PATIENT = RetryPolicy(
    initial_interval=timedelta(milliseconds=500), backoff_coefficient=2, maximum_interval=timedelta(seconds=10)
)


@dataclass(frozen=True)
class ActivityOptions:
    """Where an activity runs and how long it may take."""

    queue: str
    start_to_close: timedelta
    heartbeat: timedelta | None = None
    retry: RetryPolicy = field(default_factory=lambda: PATIENT)


# Heartbeats come every two seconds, so a lost worker is noticed within fifteen.
_LOST = timedelta(seconds=15)

ADMISSION = ActivityOptions(PLATFORM, timedelta(minutes=1), _LOST)
MODEL_CALL = ActivityOptions(SLM, timedelta(minutes=10), _LOST)
MEMORY_CALL = ActivityOptions(MEMORY, timedelta(minutes=2), _LOST)
TOOL_CALL = ActivityOptions(TOOLS, timedelta(hours=1, minutes=5), _LOST)
PUBLICATION = ActivityOptions(PLATFORM, timedelta(minutes=1), _LOST)
PROVING = ActivityOptions(
    PLATFORM,
    timedelta(minutes=30),
    _LOST,
    RetryPolicy(initial_interval=timedelta(seconds=1), maximum_attempts=3),
)
"""Each proof has its own limit within; a prover that takes its worker down does so three times at most."""
BOOKKEEPING = ActivityOptions(PLATFORM, timedelta(seconds=30))
"""Not governed, not heartbeating: one short transaction."""

EVENT_BUDGET = 4_000
"""History events after which a run continues as new, long before the server's limit of 51,200."""
RECENT_STEPS = 20
REMEMBERED_MESSAGES = 500
SAME_ACTION_LIMIT = 3
"""How often the same action may be chosen in a row before a run is said to get nowhere."""
