"""Published state of the stack: one JSON file, and a lock that only one supervisor can hold."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Literal

import psutil
from pydantic import ValidationError

from capsules.base_model import FrozenModel
from somagent.local_stack.errors import StackBusy

PartPhase = Literal["waiting", "starting", "ready", "restarting", "done", "failed", "stopped"]
StackPhase = Literal["starting", "ready", "stopping", "failed"]


class ProcessId(FrozenModel):
    """Identity of a process: its number, and its start time, because numbers are reused."""

    pid: int
    started: float

    @classmethod
    def of(cls, pid: int) -> "ProcessId | None":
        """Return the identity of a process, or None if it has ended."""
        try:
            return cls(pid=pid, started=psutil.Process(pid).create_time())
        except psutil.NoSuchProcess:
            return None

    def running(self) -> psutil.Process | None:
        """Return the process, or None if it has ended."""
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.started) < 1
            return process if same and process.status() != psutil.STATUS_ZOMBIE else None
        except psutil.NoSuchProcess:
            return None


class PartState(FrozenModel):
    """The state of one part."""

    name: str
    phase: PartPhase = "waiting"
    process: ProcessId | None = None
    since: datetime | None = None
    restarts: int = 0
    address: str = ""
    log: Path
    message: str = ""


class StackState(FrozenModel):
    """The state of the stack and of its parts."""

    phase: StackPhase
    supervisor: ProcessId
    parts: tuple[PartState, ...]
    message: str = ""


def state_file(home: Path) -> Path:
    return home / "stack.json"


def read_state(home: Path) -> StackState | None:
    """Return the last state written in this home, or None if there is none that can be read."""
    try:
        return StackState.model_validate_json(state_file(home).read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


def write_state(home: Path, state: StackState) -> None:
    """Replace the state file by a rename, so that a reader never sees a part of it."""
    unfinished = home / "stack.json.unfinished"
    unfinished.write_text(state.model_dump_json(indent=2) + "\n")
    unfinished.rename(state_file(home))


@contextmanager
def sole_supervisor(home: Path) -> Iterator[None]:
    """Hold the lock of this home. The kernel releases it when the holder dies. Raises StackBusy when it is held."""
    home.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(home / "stack.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StackBusy(f"A supervisor already runs for {str(home)!r}: see `somagent status`.") from error
        yield
    finally:
        os.close(descriptor)
