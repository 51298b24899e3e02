"""Temporal headers that workflows send to the gate: the authority, and the approval that a workflow waits for."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from capsules.base_model import StrictModel
from capsules.digest import Digest

AUTHORITY = "somagent-authority"
"""An `ActivityHeader`; in a governed application, the token of the start's authority."""

AWAITED_APPROVAL = "somagent-waited"
"""The id of the approval that the workflow waits for; empty before one was asked for. See `somagent.governance`."""

_approval: ContextVar[str | None] = ContextVar("somagent_waited", default=None)

_arguments: ContextVar[Digest | None] = ContextVar("somagent_received_arguments", default=None)


@dataclass(frozen=True)
class CutOver:
    """When payloads and headers were first bound, and the workflows that were open then. A new database has none."""

    workflows: frozenset[str] = frozenset()
    at: datetime | None = None

    def covers(self, workflow: str | None, scheduled: datetime) -> bool:
        """Return whether an activity was scheduled before, by a workflow that was open then."""
        return self.at is not None and workflow in self.workflows and scheduled < self.at


class ActivityHeader(StrictModel):
    """Header of every activity of a run: the authority of its workflow, and the one call that it is sent for."""

    authority: str
    activity: str | None
    """The activity's id; None in a run from before ids were given by the workflow."""
    type: str
    execution: str
    """The workflow run id."""
    arguments: Digest


class EncodedValue(Protocol):
    """A Temporal payload, before the codec."""

    @property
    def metadata(self) -> Mapping[str, bytes]: ...

    @property
    def data(self) -> bytes: ...


def payload_parts(payloads: Iterable[EncodedValue]) -> Iterator[bytes]:
    """Yield what the digest of arguments covers of each payload: encoding and data."""
    for payload in payloads:
        yield payload.metadata.get("encoding", b"")
        yield payload.data


def arguments_digest(parts: Iterable[bytes]) -> Digest:
    """Return the digest of an activity's arguments: each with its length, as the payload converter writes them."""
    content = hashlib.sha256()
    for part in parts:
        content.update(len(part).to_bytes(8))
        content.update(part)
    return Digest(f"sha256:{content.hexdigest()}")


def received_arguments() -> Digest:
    """Return the digest of the arguments that this activity received. For the payload converter and interceptor."""
    return _arguments.get() or arguments_digest(())


def keep_received_arguments(parts: Iterable[bytes]) -> None:
    """Keep the digest of the arguments of this activity: the first payloads that its task reads."""
    if _arguments.get() is None:
        _arguments.set(arguments_digest(parts))


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
