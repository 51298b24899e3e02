"""What a governed activity that is not ours really used: it says so while it runs, or its upper bound counts."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from capsules.amounts import Amounts
from capsules.errors import AuthorityRefused


@dataclass
class Meter:
    """What one attempt has reported so far; None while it reported nothing."""

    used: Amounts | None = None


_current: ContextVar[Meter | None] = ContextVar("somagent_meter", default=None)


def report_usage(used: Amounts) -> None:
    """Add to what this attempt used. The sum is settled in place of the reserved upper bound, also if it fails."""
    meter = _current.get()
    if meter is None:
        raise AuthorityRefused("No gate let this activity through: there is nobody to report its usage to.")
    meter.used = (meter.used or Amounts()) + used


@contextmanager
def metered() -> Iterator[Meter]:
    """Yield the meter of the attempt that runs inside. For the interceptor alone."""
    meter = Meter()
    token = _current.set(meter)
    try:
        yield meter
    finally:
        _current.reset(token)
