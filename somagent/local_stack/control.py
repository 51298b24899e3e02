"""What `somagent up` and `down` do: start a supervisor in the background, follow it, stop it and what it left."""

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import psutil

from somagent.local_stack.environment import ours
from somagent.local_stack.errors import StackError, tail
from somagent.local_stack.leftovers import end_leftovers, remove_containers
from somagent.local_stack.logs import log_file, rotate
from somagent.local_stack.state import StackState, read_state
from somagent.settings import Settings

POLL_SECONDS = 0.1
STOP_SECONDS = 60.0  # the parts' own deadlines, one after the other, come before this one


@dataclass(frozen=True, kw_only=True)
class Stopped:
    """What `down` found and ended."""

    supervisor: bool
    leftovers: tuple[str, ...]
    containers: int | None  # None: no Docker engine answered, so nobody could look


def running(settings: Settings) -> StackState | None:
    """Return the state of the stack of this home, or None if its supervisor does not run."""
    state = read_state(settings.home)
    return state if state and state.supervisor.running() else None


def start(settings: Settings, *, only: Sequence[str] = ()) -> "subprocess.Popen[bytes]":
    """Start a supervisor that outlives this process."""
    log = log_file(settings.home, "supervisor")
    rotate(log)
    command = [sys.executable, "-P", "-m", "somagent.local_stack.supervisor_process", "--only", ",".join(only)]
    with log.open("ab") as output:
        return subprocess.Popen(  # noqa: S603 - our own module
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=ours(settings),
            cwd=settings.home,
            start_new_session=True,
        )


def follow(settings: Settings, supervisor: "subprocess.Popen[bytes] | None" = None) -> Iterator[StackState]:
    """Yield the state as it changes, until the stack is ready; raise StackError if it will not be."""
    last: StackState | None = None
    while True:
        # Asked before the state is read: what it wrote before it ended is then seen for sure.
        ended = supervisor.poll() if supervisor else None
        state = running(settings) if ended is None else read_state(settings.home)
        if state and state != last and _of(state, supervisor):
            last = state
            yield state
            if state.phase == "failed":
                raise StackError(state.message)
            if state.phase == "ready":
                return
        if ended is not None or (supervisor is None and state is None):
            raise StackError(f"The supervisor ended:\n{tail(log_file(settings.home, 'supervisor'))}")
        time.sleep(POLL_SECONDS)


def stop(settings: Settings) -> Stopped:
    """Stop the stack of this home, whatever state it is in, and remove the containers of tools."""
    state = running(settings)
    process = state.supervisor.running() if state else None
    if process:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except psutil.TimeoutExpired:
            process.kill()
            process.wait(POLL_SECONDS * 100)
    leftovers = end_leftovers(settings.home)
    return Stopped(
        supervisor=process is not None,
        leftovers=tuple(leftovers),
        containers=remove_containers(settings.container_scope, host=settings.docker_host),
    )


def _of(state: StackState, supervisor: "subprocess.Popen[bytes] | None") -> bool:
    return supervisor is None or state.supervisor.pid == supervisor.pid
