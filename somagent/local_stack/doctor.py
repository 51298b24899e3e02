"""Checks of the requirements of the local stack. A failed check says how to repair it."""

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import docker
from docker.errors import DockerException

from capsules.base_model import FrozenModel
from somagent.local_stack.control import running
from somagent.local_stack.database_roles import ROLES
from somagent.local_stack.errors import StackError
from somagent.local_stack.ports import describe_conflict, is_free
from somagent.local_stack.stack import parts, replaced_parts
from somagent.local_stack.wheels import REPAIR, language_model, postgres_programs, temporal_program, valkey_server
from somagent.settings import Settings

DISK_BYTES = 3 * 1024**3  # for wheels, models, sandbox image and about a month of data
OLDEST_PYTHON = (3, 12)


class Check(FrozenModel):
    """Result of one check. `fix` says how to repair a failed one."""

    name: str
    ok: bool
    detail: str
    fix: str = ""


def examine(settings: Settings) -> tuple[Check, ...]:
    """Return the results of all checks, including those that passed."""
    return (
        _python(),
        _program("setpriv", "Install the package util-linux."),
        _docker(settings.docker_host),
        _disk(settings.home),
        *_wheels(),
        *_ports(settings),
        _keys(settings),
    )


def _python() -> Check:
    version = ".".join(map(str, sys.version_info[:3]))
    ok = sys.version_info >= OLDEST_PYTHON
    return Check(
        name="python", ok=ok, detail=version, fix="" if ok else "Install Python 3.12 or newer; run deploy/setup."
    )


def _program(name: str, fix: str) -> Check:
    path = shutil.which(name)
    return Check(name=name, ok=path is not None, detail=path or "not found", fix="" if path else fix)


def _docker(host: str) -> Check:
    try:
        client = docker.DockerClient(base_url=host, timeout=10)
    except DockerException as error:
        denied = "permission" in str(error).lower()
        fix = (
            "Add your user to the group: sudo usermod -aG docker $USER, then log in again."
            if denied
            else "Start the Docker engine; as root on Debian and Ubuntu deploy/setup installs and starts it."
        )
        return Check(name="docker", ok=False, detail=str(error), fix=f"{fix} Container tools wait until then.")
    try:
        return Check(name="docker", ok=True, detail=f"engine {client.version()['Version']}")
    finally:
        client.close()


def _disk(home: Path) -> Check:
    place = next(path for path in (home.absolute(), *home.absolute().parents) if path.exists())
    left = shutil.disk_usage(place).free
    ok = left >= DISK_BYTES
    fix = "" if ok else f"Free at least {DISK_BYTES / 1e9:.1f} GB or set SOMAGENT_HOME to a larger disk."
    return Check(name="disk", ok=ok, detail=f"{left / 1e9:.1f} GB free at {place}", fix=fix)


def _wheels() -> Iterator[Check]:
    found: dict[str, Callable[[], Path]] = {
        "postgres": postgres_programs,
        "valkey": valkey_server,
        "temporal": temporal_program,
        "language model": language_model,
    }
    for name, find in found.items():
        try:
            yield Check(name=name, ok=True, detail=str(find()))
        except StackError as error:
            yield Check(name=name, ok=False, detail=str(error), fix=REPAIR)


def _ports(settings: Settings) -> Iterator[Check]:
    for name, setting in replaced_parts(settings).items():
        yield Check(name=f"{name} address", ok=True, detail=f"replaced by {setting}")
    try:
        chosen = parts(settings)
    except StackError as error:
        yield Check(name="parts", ok=False, detail=str(error), fix=REPAIR)
        return
    state = running(settings)
    product_environment = {part.name for part in state.parts} if state else set()
    for part in chosen:
        for listening in part.listens:
            name = f"port {listening.port}"
            if part.name in product_environment:
                yield Check(name=name, ok=True, detail=f"in use by our own {part.name}")
            elif is_free(settings.host, listening.port):
                yield Check(name=name, ok=True, detail=f"free for {part.name}")
            else:
                text = describe_conflict(part.name, listening, settings.host)
                detail, _, fix = text.partition(". ")
                yield Check(name=name, ok=False, detail=detail, fix=fix)


def _keys(settings: Settings) -> Check:
    directory = settings.keys_dir
    if not directory.exists():
        return Check(name="keys", ok=True, detail="none yet; the first start makes them")
    loose = [path for path in (directory, *directory.iterdir()) if path.stat().st_mode & 0o077]
    missing = [role for role in ROLES if not (directory / f"postgres-{role}.password").exists()]
    if loose:
        names = " ".join(str(path) for path in loose)
        return Check(name="keys", ok=False, detail=f"readable by others: {names}", fix=f"chmod go= {names}")
    if missing:
        return Check(
            name="keys",
            ok=False,
            detail=f"no password for {', '.join(missing)}",
            fix="somagent down, then somagent up: a start makes what is missing.",
        )
    return Check(name="keys", ok=True, detail=str(directory))
