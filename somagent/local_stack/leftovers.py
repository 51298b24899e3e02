"""What a supervisor that was killed may leave behind: processes it recorded, containers that tools ran in."""

import contextlib
import os
import signal
from pathlib import Path

import docker
import psutil
from docker.errors import DockerException, NotFound

from somagent.local_stack.state import read_state, state_file

SCOPE = "somagent.scope"  # the label that the sandbox puts on every container
GRACE_SECONDS = 10.0  # the kernel has told them already, when the supervisor died


def end_leftovers(home: Path) -> list[str]:
    """End the parts that the last supervisor of this home recorded and that still run; return their names."""
    state = read_state(home)
    if state is None:
        return []
    # The supervisor is gone (the caller holds its lock or stopped it), so nobody starts them again.
    left = {part.name: process for part in state.parts if part.process and (process := part.process.running())}
    for process in left.values():
        _signal(process, signal.SIGTERM)
    _, stubborn = psutil.wait_procs(list(left.values()), timeout=GRACE_SECONDS)
    for process in stubborn:
        _signal(process, signal.SIGKILL)
    psutil.wait_procs(stubborn, timeout=GRACE_SECONDS)
    state_file(home).unlink(missing_ok=True)
    return list(left)


def remove_containers(scope: str, *, host: str) -> int | None:
    """Remove the containers of one home's stack; return how many, or None where no Docker engine answers.

    Never those of another scope, nor those that name none: an engine is shared, and they may be at work for somebody.
    """
    try:
        client = docker.DockerClient(base_url=host, timeout=30)
    except DockerException:
        return None
    with contextlib.closing(client):
        containers = client.containers.list(all=True, filters={"label": f"{SCOPE}={scope}"}, ignore_removed=True)
        for container in containers:
            with contextlib.suppress(NotFound):  # it may end by itself meanwhile
                container.remove(force=True, v=True)
        return len(containers)


def _signal(process: psutil.Process, number: signal.Signals) -> None:
    # Each part leads its own process group; what it started goes with it.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)
