"""Real servers for tests, started by the product's own stack code on free ports in a home of their own."""

import asyncio
import fcntl
import random
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any

import uvicorn

from somagent.local_stack.ports import is_free
from somagent.local_stack.stack import parts
from somagent.local_stack.supervisor import Supervisor
from somagent.settings import Settings

# Below the range that the kernel hands to outgoing connections, so that none of those takes a port first.
TEST_PORTS = range(15_000, 32_000)
PORT_SETTINGS = (
    "api_port",
    "temporal_port",
    "temporal_ui_port",
    "postgres_port",
    "valkey_port",
    "slm_port",
    "worker_metrics_port",
    "tools_metrics_port",
)

_reserved: list[IO[str]] = []


@contextmanager
def temporary_home() -> Iterator[Path]:
    """Yield a directory for a stack. Its path is short, since sockets live in it."""
    with TemporaryDirectory(prefix="somagent-test-", ignore_cleanup_errors=True) as directory:
        home = Path(directory)
        home.chmod(0o755)  # PostgreSQL's system user passes through; keys and data are closed below
        yield home


def free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on now, and that no other test process of this machine gets while this one lives.

    A part may start minutes after its port was chosen.
    """
    found: list[int] = []
    while len(found) < count:
        # Not from the shared generator: Hypothesis seeds it alike in every process.
        port = random.SystemRandom().choice(TEST_PORTS)
        if _reserve(port) and is_free("127.0.0.1", port):
            found.append(port)
    return found


def _reserve(port: int) -> bool:
    """Lock the port's file until this process ends; return whether no test process had it."""
    directory = Path(tempfile.gettempdir()) / "somagent-test-ports"
    directory.mkdir(mode=0o777, exist_ok=True)
    lock = (directory / str(port)).open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        return False
    _reserved.append(lock)
    return True


def settings_in(home: Path, **changes: object) -> Settings:
    """Return settings of a stack of its own: this home, free ports."""
    ports = dict(zip(PORT_SETTINGS, free_ports(len(PORT_SETTINGS)), strict=True))
    return Settings(home=home.absolute(), **(ports | changes))


@asynccontextmanager
async def running(settings: Settings, *only: str) -> AsyncIterator[Supervisor]:
    """Start the named parts and what they depend on; stop them afterwards."""
    async with Supervisor(parts(settings, only=only), home=settings.home) as supervisor:
        yield supervisor


@asynccontextmanager
async def serving_app(app: Any, port: int | None = None) -> AsyncIterator[str]:
    """Serve an ASGI application on 127.0.0.1 in this process, and yield its address."""
    port = port or free_ports(1)[0]
    server = uvicorn.Server(
        uvicorn.Config(app, port=port, log_level="warning", timeout_graceful_shutdown=1, proxy_headers=False)
    )
    task = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 - uvicorn offers nothing to wait on
        await asyncio.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        await task


async def eventually[T](check: Callable[[], Awaitable[T]], *, seconds: float = 10) -> T:
    """Return what the check returns once it passes; after that many seconds raise what it raised last."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return await check()
        except Exception:  # whatever a check fails with, it is raised when the time is over
            if time.monotonic() > deadline:
                raise
        await asyncio.sleep(0.05)
