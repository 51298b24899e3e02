"""Temporal headers that workflows send to the gate: the authority, and the approval that a workflow waits for."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

AUTHORITY = "somagent-authority"
"""The authority token under which an activity is asked for."""

WAITED = "somagent-waited"
"""The id of the approval that the workflow waits for; empty before one was asked for. See `somagent.governance`."""

_waited: ContextVar[str | None] = ContextVar("somagent_waited", default=None)


def awaited_approval() -> str | None:
    """Return the approval that is waited for, empty before it is known, None when the workflow does not wait."""
    return _waited.get()


@contextmanager
def awaiting(approval: str) -> Iterator[None]:
    """Let calls inside say that the workflow waits for `approval`."""
    token = _waited.set(approval)
    try:
        yield
    finally:
        _waited.reset(token)
