"""Temporal headers that workflows send to the gate: the authority, and the approval that a workflow waits for."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

AUTHORITY = "somagent-authority"
"""The authority token of the request."""

AWAITED_APPROVAL = "somagent-waited"
"""The id of the approval that the workflow waits for; empty before one was asked for. See `somagent.governance`."""

_approval: ContextVar[str | None] = ContextVar("somagent_waited", default=None)


def current_approval() -> str | None:
    """Return the id of the approval that the workflow waits for: empty if not known yet, None if it waits for none."""
    return _approval.get()


@contextmanager
def set_current_approval(approval: str) -> Iterator[None]:
    """Set the approval that the header of calls within this context names."""
    token = _approval.set(approval)
    try:
        yield
    finally:
        _approval.reset(token)
