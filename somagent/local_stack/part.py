"""A part of the stack, declared: what to run, after what, and how to see from outside that it answers."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from signal import SIGTERM, Signals

from somagent.local_stack.system_user import Identity


@dataclass(frozen=True, kw_only=True)
class Launched:
    """The process that a health check is about."""

    pid: int
    since: datetime


@dataclass(frozen=True, kw_only=True)
class Listening:
    """A port that a part takes, and the setting that moves it."""

    setting: str
    port: int


Health = Callable[[Launched], Awaitable[None]]
Step = Callable[[], Awaitable[None]]


@dataclass(frozen=True, kw_only=True)
class Part:
    """One process of the stack. `health` raises NotYet until the part does its work.

    `prepare` runs before every start and `provision` after it answers, before anything that depends on it starts;
    both are idempotent, since a part that died is started again the same way.
    """

    name: str
    command: tuple[str, ...]
    health: Health | None = None
    depends_on: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    listens: tuple[Listening, ...] = ()
    address: str = ""
    prepare: Step | None = None
    provision: Step | None = None
    once: bool = False  # runs to its end; a failure stops the start
    identity: Identity | None = None  # another system user, when the caller is root
    stop_signal: Signals = SIGTERM
    start_seconds: float = 60
    stop_seconds: float = 10
