"""Activity context: what the gate gives to the body of a governed activity, and the meter of its usage.

A body asks for its context first. Without the interceptor there is no context and the body refuses to run, so a
misconfigured worker has no effect. A context is good for one attempt in one process: not in a forked process, and not
in a task or thread that outlives the attempt.
"""

import os
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from capsules.actions.ledger_messages import AttemptKey
from capsules.budgets.amounts import Amounts
from capsules.errors import AuthorityRefused
from capsules.identity.authority import Authority
from capsules.runs.lock import Lock


@dataclass(frozen=True)
class ActivityContext:
    """The verified authority of an attempt, the key by which its effect happens once, and the lock of its run."""

    authority: Authority
    key: AttemptKey
    lock: Lock | None = None
    """The platform's copy. None before admission, and for actions that read no definition."""
    first_execution: str = ""
    """`capsule.start`: the id of the first execution of the workflow, which the run belongs to."""
    after_settling: list[Callable[[], Awaitable[None]]] = field(default_factory=list)
    """Called when outcome and result are durable, to delete what was kept for a retry."""
    process: int = field(default_factory=os.getpid)
    ended: list[bool] = field(default_factory=list)
    """Not empty when the attempt has ended."""

    @property
    def tenant(self) -> str:
        return self.authority.tenant


_context: ContextVar[ActivityContext | None] = ContextVar("somagent_context", default=None)


def current_context() -> ActivityContext:
    """Return the context of this attempt. Raises AuthorityRefused when the worker has no policy interceptor."""
    context = _context.get()
    if context is None:
        raise AuthorityRefused("No gate let this activity through: the worker runs without the policy interceptor.")
    if context.process != os.getpid():
        raise AuthorityRefused("The gate let an activity of another process through: run this one in a thread.")
    if context.ended:
        raise AuthorityRefused(f"Attempt {context.key.attempt} of {context.key.effect!r} has ended.")
    return context


@contextmanager
def activity_context(context: ActivityContext) -> Iterator[ActivityContext]:
    """Make `context` the current one. For the interceptor only."""
    token = _context.set(context)
    try:
        yield context
    finally:
        context.ended.append(True)
        _context.reset(token)


@dataclass
class Meter:
    """The usage that one attempt has reported so far; None before its first report."""

    used: Amounts | None = None


_meter: ContextVar[Meter | None] = ContextVar("somagent_meter", default=None)


def report_usage(used: Amounts) -> None:
    """Add to what this attempt used. The sum is settled in place of the reserved upper bound, also if it fails."""
    meter = _meter.get()
    if meter is None:
        raise AuthorityRefused("No gate let this activity through: its usage cannot be recorded.")
    meter.used = (meter.used or Amounts()) + used


@contextmanager
def meter_usage() -> Iterator[Meter]:
    """Yield the meter of the attempt that runs inside. For the interceptor only."""
    meter = Meter()
    token = _meter.set(meter)
    try:
        yield meter
    finally:
        _meter.reset(token)
