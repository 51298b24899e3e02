"""The proof, inside a governed activity, that the gate let this attempt through.

A governed body asks for its pass first. Where the interceptor is missing there is none, and the body refuses: a worker
wired wrongly does nothing rather than everything.
"""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from capsules.authority import Authority
from capsules.errors import AuthorityRefused
from capsules.gate import AttemptKey


@dataclass(frozen=True)
class Pass:
    """What a governed body may rely on: who it works for, and the key that makes its effect happen once."""

    authority: Authority
    key: AttemptKey
    after_settling: list[Callable[[], Awaitable[None]]] = field(default_factory=list)
    """Called when outcome and result are durable: the place to drop what was kept for a retry."""

    @property
    def tenant(self) -> str:
        return self.authority.tenant


_current: ContextVar[Pass | None] = ContextVar("somagent_pass", default=None)


def current_pass() -> Pass:
    """Return the pass of this attempt. Raises AuthorityRefused when no gate stands before this worker."""
    granted = _current.get()
    if granted is None:
        raise AuthorityRefused("No gate let this activity through: the worker runs without the policy interceptor.")
    return granted


@contextmanager
def let_through(granted: Pass) -> Iterator[Pass]:
    """Make `granted` the current pass. For the interceptor alone."""
    token = _current.set(granted)
    try:
        yield granted
    finally:
        _current.reset(token)
