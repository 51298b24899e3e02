"""Whether a workflow waits for an approval itself: said around a call, read where the call leaves the workflow."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_waited: ContextVar[str | None] = ContextVar("somagent_waited", default=None)


def waited() -> str | None:
    """Return the approval that is waited for, empty before it is known, None when the workflow does not wait."""
    return _waited.get()


@contextmanager
def waiting(approval: str) -> Iterator[None]:
    """Let calls inside say that the workflow waits for `approval`."""
    token = _waited.set(approval)
    try:
        yield
    finally:
        _waited.reset(token)
