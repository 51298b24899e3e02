"""Activity context: what the gate gives to the body of a governed activity, and the meter of its usage.

A body asks for its pass first. Without the interceptor there is no pass and the body refuses to run, so a worker that
is wired wrongly has no effect.
"""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from capsules.actions.ledger_messages import AttemptKey
from capsules.budgets.amounts import Amounts
from capsules.errors import AuthorityRefused
from capsules.identity.authority import Authority


@dataclass(frozen=True)
class ActivityContext:
    """The verified authority of an attempt, and the key by which its effect happens once."""

    authority: Authority
    key: AttemptKey
    after_settling: list[Callable[[], Awaitable[None]]] = field(default_factory=list)
    """Called when outcome and result are durable: the place to drop what was kept for a retry."""

    @property
    def tenant(self) -> str:
        return self.authority.tenant


_pass: ContextVar[ActivityContext | None] = ContextVar("somagent_pass", default=None)


def current_context() -> ActivityContext:
    """Return the pass of this attempt. Raises AuthorityRefused when no gate stands before this worker."""
    granted = _pass.get()
    if granted is None:
        raise AuthorityRefused("No gate let this activity through: the worker runs without the policy interceptor.")
    return granted


@contextmanager
def activity_context(granted: ActivityContext) -> Iterator[ActivityContext]:
    """Make `granted` the current pass. For the interceptor alone."""
    token = _pass.set(granted)
    try:
        yield granted
    finally:
        _pass.reset(token)


@dataclass
class Meter:
    """The usage that one attempt has reported so far; None before its first report."""

    used: Amounts | None = None


_meter: ContextVar[Meter | None] = ContextVar("somagent_meter", default=None)


def report_usage(used: Amounts) -> None:
    """Add to what this attempt used. The sum is settled in place of the reserved upper bound, also if it fails."""
    meter = _meter.get()
    if meter is None:
        raise AuthorityRefused("No gate let this activity through: there is nobody to report its usage to.")
    meter.used = (meter.used or Amounts()) + used


@contextmanager
def meter_usage() -> Iterator[Meter]:
    """Yield the meter of the attempt that runs inside. For the interceptor alone."""
    meter = Meter()
    token = _meter.set(meter)
    try:
        yield meter
    finally:
        _meter.reset(token)
