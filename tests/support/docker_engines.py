"""Docker engines of the tests' own, configured in another way than the machine's, which nobody here changes.

Each has its socket, its data and its mounts to itself, and is gone afterwards.
"""

import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import docker
from docker.errors import DockerException

GVISOR = {"runsc": {"path": "runsc", "runtimeArgs": ["--network=none", "--oci-seccomp"]}}
"""Runtimes of an engine with gVisor: without its network stack, and with our seccomp profile."""
GVISOR_SINCE = 2024_07_29
"""The kernel of 20221219, which Debian 12 has without backports, panics under ordinary programs."""
REMAPPED_USER = "daemon"
"""The user whose range of ids an engine with user namespaces takes. Its group has the same name, as the engine needs."""
FIRST_UID = 200_000
"""On the host, user 0 of such an engine."""
ALONE = 'mount --bind "$1" /etc/subuid && mount --bind "$1" /etc/subgid && shift && exec "$@"'
"""Users of the remapped engine are defined in its own mount namespace only: /etc of the machine stays as it is."""


def missing(*programs: str) -> str | None:
    """Return why an engine of our own cannot be started here, or None."""
    if os.geteuid() != 0:
        return "an engine of the test's own needs root"
    absent = [program for program in ("dockerd", *programs) if shutil.which(program) is None]
    return f"{', '.join(absent)} is not installed" if absent else None


def missing_gvisor() -> str | None:
    """Return why gVisor cannot be had here, or None."""
    if reason := missing("runsc"):
        return f"{reason}: apt-get install runsc"
    said = subprocess.run(["runsc", "--version"], check=True, capture_output=True, text=True).stdout
    version = next(int(number) for number in re.findall(r"\d+", said) if len(number) == len(str(GVISOR_SINCE)))
    return f"runsc {version} is older than {GVISOR_SINCE}: take Debian's backport" if version < GVISOR_SINCE else None


@contextmanager
def own_engine(image: str, **config: Any) -> Iterator[str]:
    """Start an engine with this configuration and the image of the machine's engine, and yield its address."""
    with TemporaryDirectory(prefix="somagent-engine-", ignore_cleanup_errors=True) as directory:
        home = Path(directory)
        home.chmod(0o755)  # users of a user namespace pass through
        host = f"unix://{home}/docker.sock"
        where = {"data-root": f"{home}/data", "exec-root": f"{home}/exec", "pidfile": f"{home}/pid", "hosts": [host]}
        alone = {"bridge": "none", "iptables": False, "ip-forward": False, "containerd-namespace": home.name}
        (home / "daemon.json").write_text(json.dumps(where | alone | config))
        (home / "users").write_text(f"{REMAPPED_USER}:{FIRST_UID}:65536\n")
        inside = ("sh", "-c", ALONE, "sh", home / "users", "dockerd", "--config-file", home / "daemon.json")
        with (home / "log").open("wb") as log:
            daemon = subprocess.Popen(["unshare", "--mount", *inside], stdout=log, stderr=log)
        try:
            _wait_until_ready(host, daemon, home / "log")
            with closing(docker.from_env()) as machine, closing(docker.DockerClient(base_url=host)) as own:
                own.images.load(machine.images.get(image).save(named=True))
            yield host
        finally:
            daemon.terminate()
            daemon.wait(timeout=60)


def _wait_until_ready(host: str, daemon: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + 60
    while not _answers(host):
        assert daemon.poll() is None, f"dockerd has ended: {log.read_text()[-2000:]}"
        assert time.monotonic() < until, f"dockerd does not answer: {log.read_text()[-2000:]}"
        time.sleep(0.1)


def _answers(host: str) -> bool:
    try:
        with closing(docker.DockerClient(base_url=host, timeout=10)) as client:
            return bool(client.ping())
    except DockerException:
        return False
