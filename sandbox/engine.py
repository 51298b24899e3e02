"""Docker Engine client for asyncio: the SDK blocks a thread of a pool, never the event loop."""

import asyncio
import socket
import struct
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from functools import lru_cache
from typing import Any

from docker import APIClient
from docker.errors import APIError, DockerException
from docker.utils.socket import frames_iter
from requests.exceptions import RequestException
from urllib3.exceptions import HTTPError

from capsules.errors import SomaError, Unavailable
from sandbox.wire import ContainerReport

DEFAULT_HOST = "unix:///var/run/docker.sock"
CALL_SECONDS = 60


class EngineRefusal(SomaError):
    """The engine answered with an error; `answer` is its HTTP status."""

    code = "Refused"

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"The Docker engine answers {status}: {message}")
        self.answer = status
        self.reason = message


class Engine:
    """One engine, by its address, for `at_once` containers at a time."""

    def __init__(self, host: str = DEFAULT_HOST, *, at_once: int) -> None:
        self._host = host
        # One thread reads from each container, and one is left for each to start, inspect or stop it meanwhile.
        self._threads = ThreadPoolExecutor(2 * at_once, thread_name_prefix="docker")
        # Made by the first call, since it asks the engine for its version.
        self._client = lru_cache(maxsize=1)(
            lambda: APIClient(base_url=host, timeout=CALL_SECONDS, max_pool_size=2 * at_once)
        )

    async def call[R](self, work: Callable[[APIClient], R]) -> R:
        """Return the result of an SDK call. Raises EngineRefusal for an error status, Unavailable when nothing answers.

        A cancellation ends the wait and not the work: a thread that reads from a container ends with the container.
        """

        def worked() -> R:
            try:
                return work(self._client())
            except APIError as error:
                raise EngineRefusal(error.status_code or 500, str(error.explanation or error)) from error
            except (DockerException, RequestException, OSError) as error:
                raise Unavailable(
                    f"The Docker engine does not answer at {self._host!r}: {error}. Is it running, and may we use it?"
                ) from error

        return await asyncio.get_running_loop().run_in_executor(self._threads, worked)


def start(client: APIClient, identity: str, given: bytes, report: ContainerReport) -> None:
    """Start a container, give it its input, and read its report until it has a result or the container ends."""
    attached: Any = client.attach_socket(identity, {"stream": 1, "stdin": 1, "stdout": 1, "stderr": 1})
    with closing(attached._response):  # noqa: SLF001 - the SDK keeps the connection there, and the socket below
        connection: socket.socket = attached._sock  # noqa: SLF001
        connection.settimeout(None)
        # By id and not by name: the name may belong to a later container by now.
        client.start(identity)
        with suppress(ConnectionError):  # it ended early; what it reported says why
            connection.sendall(given)
            connection.shutdown(socket.SHUT_WR)
        with suppress(ConnectionError):
            report.read(frames_iter(connection, tty=False))  # type: ignore[no-untyped-call]  # docker's stubs lack it


def read_log(client: APIClient, identity: str, report: ContainerReport) -> None:
    """Read the report of a container that was started before, from its first line."""
    pieces: Any = client.logs(identity, stderr=False, stream=True, follow=True)
    # A stream that breaks is at its end: the engine is asked for the outcome.
    with closing(pieces._response), suppress(HTTPError, struct.error, ConnectionError):  # noqa: SLF001 - as above
        report.read((1, piece) for piece in pieces)
