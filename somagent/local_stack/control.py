"""Control of the stack: start a supervisor in the background, follow its state, stop it, and clean up after it."""

import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import docker
import psutil
from docker.errors import DockerException, NotFound

from somagent.local_stack.environment import product_environment
from somagent.local_stack.errors import StackError, tail
from somagent.local_stack.logs import log_file, rotate
from somagent.local_stack.process import signal_group
from somagent.local_stack.state import StackState, read_state, state_file
from somagent.settings import Settings

POLL_SECONDS = 0.1
STOP_SECONDS = 60.0  # more than the sum of the parts' own deadlines
SCOPE = "somagent.scope"  # label of every container of the sandbox
GRACE_SECONDS = 10.0  # for parts, which the kernel has signalled when the supervisor died


@dataclass(frozen=True, kw_only=True)
class StopResult:
    """Result of a stop: whether a supervisor ran, which parts a killed one had left, and how many containers."""

    supervisor: bool
    leftovers: tuple[str, ...]
    containers: int | None  # None: no Docker engine answered


def running(settings: Settings) -> StackState | None:
    """Return the state of the stack in this home, or None if its supervisor does not run."""
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
            env=product_environment(settings),
            cwd=settings.home,
            start_new_session=True,
        )


def follow(settings: Settings, supervisor: "subprocess.Popen[bytes] | None" = None) -> Iterator[StackState]:
    """Yield the state at each change until the stack is ready. Raises StackError when the stack fails."""
    last: StackState | None = None
    while True:
        # Poll first: the last state that an ended supervisor wrote is then read for sure.
        ended = supervisor.poll() if supervisor else None
        state = running(settings) if ended is None else read_state(settings.home)
        if state and state != last and _belongs_to(state, supervisor):
            last = state
            yield state
            if state.phase == "failed":
                raise StackError(state.message)
            if state.phase == "ready":
                return
        if ended is not None or (supervisor is None and state is None):
            raise StackError(f"The supervisor ended:\n{tail(log_file(settings.home, 'supervisor'))}")
        time.sleep(POLL_SECONDS)


def stop(settings: Settings) -> StopResult:
    """Stop the stack in this home, whatever its state, and remove the containers of tools."""
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
    return StopResult(
        supervisor=process is not None,
        leftovers=tuple(leftovers),
        containers=remove_containers(settings.container_scope, host=settings.docker_host),
    )


def end_leftovers(home: Path) -> list[str]:
    """End the parts that the last supervisor of this home left running, and return their names."""
    state = read_state(home)
    if state is None:
        return []
    # The supervisor is gone (the caller holds its lock or stopped it), so parts are not restarted.
    left = {part.name: process for part in state.parts if part.process and (process := part.process.running())}
    for process in left.values():
        signal_group(process.pid, signal.SIGTERM)
    _, stubborn = psutil.wait_procs(list(left.values()), timeout=GRACE_SECONDS)
    for process in stubborn:
        signal_group(process.pid, signal.SIGKILL)
    psutil.wait_procs(stubborn, timeout=GRACE_SECONDS)
    state_file(home).unlink(missing_ok=True)
    return list(left)


def remove_containers(scope: str, *, host: str) -> int | None:
    """Remove the containers of one scope and return their number, or None when no Docker engine answers.

    An engine is shared: containers of another scope or without a scope stay, as others may use them.
    """
    try:
        client = docker.DockerClient(base_url=host, timeout=30)
    except DockerException:
        return None
    with contextlib.closing(client):
        containers = client.containers.list(all=True, filters={"label": f"{SCOPE}={scope}"}, ignore_removed=True)
        for container in containers:
            with contextlib.suppress(NotFound):  # it may have ended meanwhile
                container.remove(force=True, v=True)
        return len(containers)


def _belongs_to(state: StackState, supervisor: "subprocess.Popen[bytes] | None") -> bool:
    return supervisor is None or state.supervisor.pid == supervisor.pid
