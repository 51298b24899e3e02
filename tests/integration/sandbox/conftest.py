"""The sandbox on real engines. A missing engine fails these tests with what is missing.

Every test runs on the machine's engine, and in the long lane on two more: with gVisor as the runtime, and with user
namespaces. What cannot be had here is skipped with the reason.
"""

import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, NamedTuple

import docker
import pytest
from docker_engines import GVISOR, REMAPPED_USER, missing, missing_gvisor, own_engine

from capsules.tools.tool import ContainerLimits, ContainerResult, ContainerSpec
from sandbox.container import DockerSandbox
from sandbox.engine import DEFAULT_HOST

# Other installations may share the engine; a scope of our own keeps the reaper off their containers.
SCOPE = f"test-{uuid.uuid4().hex[:8]}"

Python = Callable[..., Awaitable[ContainerResult]]


class Lane(NamedTuple):
    """An engine, and the runtime that its containers have."""

    name: str
    host: str = DEFAULT_HOST
    runtime: str | None = None

    def sandbox(self, image: str, **options: Any) -> DockerSandbox:
        """Return a sandbox of this lane, in the scope of the tests."""
        return DockerSandbox(image=image, host=self.host, runtime=self.runtime, scope=SCOPE, **options)


LONG = [pytest.param(name, marks=pytest.mark.long) for name in ("gvisor", "user namespaces")]


@pytest.fixture(scope="session", params=["default", *LONG])
def lane(request: pytest.FixtureRequest, image: str) -> Iterator[Lane]:
    match request.param:
        case "gvisor":
            if reason := missing_gvisor():
                pytest.skip(reason)
            with own_engine(image, runtimes=GVISOR) as host:
                yield Lane("gvisor", host, "runsc")
        case "user namespaces":
            if reason := missing("unshare"):
                pytest.skip(reason)
            with own_engine(image, **{"userns-remap": REMAPPED_USER}) as host:
                yield Lane("user namespaces", host)
        case _:
            yield Lane("default")


@pytest.fixture(scope="session")
def sandbox(lane: Lane, image: str) -> DockerSandbox:
    return lane.sandbox(image)


@pytest.fixture(scope="session")
def engine(lane: Lane) -> Iterator[docker.DockerClient]:
    client = docker.DockerClient(base_url=lane.host)
    yield client
    client.close()


@pytest.fixture
async def key(sandbox: DockerSandbox) -> AsyncIterator[str]:
    """A key of the test's own; what is kept for it is gone afterwards."""
    fresh = f"test/{uuid.uuid4()}"
    yield fresh
    await sandbox.discard(fresh)


class Kept:
    """What the engine keeps for a key, seen through a client that is not ours."""

    def __init__(self, engine: docker.DockerClient, name: str) -> None:
        self._engine = engine
        self.name = name
        self._since = int(time.time())

    def exists(self, **filters: str) -> bool:
        return bool(self._engine.containers.list(all=True, filters={"name": self.name, **filters}, sparse=True))

    def get(self) -> Any:
        return self._engine.containers.get(self.name)

    def starts(self) -> int:
        """Count how often a container of this name was started."""
        filters = {"type": "container", "event": "start", "container": self.name}
        events = self._engine.events(since=self._since, until=int(time.time()) + 1, filters=filters, decode=True)
        return len(list(events))


@pytest.fixture
def container(engine: docker.DockerClient, sandbox: DockerSandbox, key: str) -> Kept:
    """The container of `key`."""
    return Kept(engine, sandbox.name(key))


@pytest.fixture
def spec(image: str) -> Callable[..., ContainerSpec]:
    """A command as a spec; `limits` change single limits."""

    def of(*command: str, limits: dict[str, Any] | None = None, **rest: Any) -> ContainerSpec:
        return ContainerSpec(
            image=image,
            command=command,
            limits=ContainerLimits(**{"memory_bytes": 128 * 2**20, "seconds": 20, **(limits or {})}),
            **rest,
        )

    return of


@pytest.fixture
def python(sandbox: DockerSandbox, spec: Callable[..., ContainerSpec], key: str) -> Python:
    """Run Python code under the test's key."""

    async def run(code: str, **rest: Any) -> ContainerResult:
        return await sandbox.run(spec("python3", "-c", code, **rest), key=key)

    return run
