"""Declaration of a part of the stack: its command, environment, dependencies and health check."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from signal import SIGTERM, Signals

from somagent.local_stack.system_user import Identity


@dataclass(frozen=True, kw_only=True)
class StartedProcess:
    """A started process, for its health check: its number, and when it started."""

    pid: int
    since: datetime


@dataclass(frozen=True, kw_only=True)
class ListenPort:
    """A port that a part listens on, and the setting that changes the port."""

    setting: str
    port: int


HealthCheck = Callable[[StartedProcess], Awaitable[None]]
PartHook = Callable[[], Awaitable[None]]


@dataclass(frozen=True, kw_only=True)
class Part:
    """One process of the stack. `health` raises NotReady until the part works.

    The directory `data` is created and `prepare` runs before every start. `provision` runs when the part answers,
    before its dependents start. Both are idempotent, because a part that died is started again in the same way.
    """

    name: str
    command: tuple[str, ...]
    health: HealthCheck | None = None
    depends_on: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    listens: tuple[ListenPort, ...] = ()
    address: str = ""
    data: Path | None = None
    prepare: PartHook | None = None
    provision: PartHook | None = None
    once: bool = False  # the process ends by itself, and its failure stops the start
    identity: Identity | None = None  # system user to run as, when the caller is root
    stop_signal: Signals = SIGTERM
    start_seconds: float = 60
    stop_seconds: float = 10
