"""Temporal headers that workflows send to the gate: the authority, and the approval that a workflow waits for."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

AUTHORITY = "somagent-authority"
"""The authority token of the request."""

WAITED = "somagent-waited"
"""The id of the approval that the workflow waits for; empty before one was asked for. See `somagent.governance`."""

_awaited: ContextVar[str | None] = ContextVar("somagent_waited", default=None)


def awaited_approval() -> str | None:
    """Return the approval that the workflow waits for: empty before it is known, None when it does not wait."""
    return _awaited.get()


@contextmanager
def awaiting(approval: str) -> Iterator[None]:
    """Send with calls inside that the workflow waits for `approval`."""
    token = _awaited.set(approval)
    try:
        yield
    finally:
        _awaited.reset(token)
