"""The Docker Engine API over its socket, for asyncio: a short connection a call, no thread held while a container runs.

Only what sandboxes need. HTTP/1.0 on purpose: the engine then neither chunks nor keeps the connection, and a reply ends
where the stream ends.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from capsules.errors import SomaError, Unavailable

DEFAULT_HOST = "unix:///var/run/docker.sock"
CONNECT_SECONDS = 5
CALL_SECONDS = 60


class Refused(SomaError):
    """The engine answered with an error; `status` is its HTTP status."""

    code = "Refused"

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"The Docker engine answers {status}: {message}")
        self.answer = status
        self.reason = message


@dataclass(frozen=True)
class Stream:
    """An open connection to a container's streams."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, data: bytes) -> None:
        """Send all of it and say that nothing follows."""
        self.writer.write(data)
        await self.writer.drain()
        self.writer.write_eof()

    async def pieces(self) -> AsyncIterator[tuple[int, bytes]]:
        """Yield what the container writes, with 1 for standard output and 2 for standard error, until it ends."""
        try:
            while True:
                head = await self.reader.readexactly(8)
                yield head[0], await self.reader.readexactly(int.from_bytes(head[4:], "big"))
        except (asyncio.IncompleteReadError, ConnectionError):
            return


class Engine:
    """One engine, by its address."""

    def __init__(self, host: str = DEFAULT_HOST) -> None:
        self._host = host
        self._address = urlsplit(host)
        if self._address.scheme not in {"unix", "tcp"}:
            raise Unavailable(f"Docker address {host!r} is not supported. Use unix:///path or tcp://host:port.")

    async def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:  # noqa: ANN401 - JSON
        """Return the decoded reply. Raises Refused for an error status, Unavailable when nothing answers."""
        try:
            async with asyncio.timeout(CALL_SECONDS):
                reader, writer = await self._send(method, path, body)
                try:
                    await self._status(reader)
                    reply = await reader.read()
                finally:
                    writer.close()
        except TimeoutError as error:
            raise self._silent(f"no reply to {method} {path} in {CALL_SECONDS} s") from error
        except (OSError, asyncio.IncompleteReadError) as error:
            raise self._silent(error) from error
        return json.loads(reply) if reply.strip() else None

    @asynccontextmanager
    async def stream(self, method: str, path: str) -> AsyncIterator[Stream]:
        """Open a stream of a container, for reading and where the call allows it for writing."""
        try:
            reader, writer = await self._send(method, path, None)
        except OSError as error:
            raise self._silent(error) from error
        try:
            try:
                await self._status(reader)
            except (OSError, asyncio.IncompleteReadError) as error:
                raise self._silent(error) from error
            yield Stream(reader, writer)
        finally:
            writer.close()

    async def _send(
        self, method: str, path: str, body: dict[str, Any] | None
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        async with asyncio.timeout(CONNECT_SECONDS):
            if self._address.scheme == "unix":
                reader, writer = await asyncio.open_unix_connection(self._address.path)
            else:
                reader, writer = await asyncio.open_connection(self._address.hostname, self._address.port or 2375)
        data = b"" if body is None else json.dumps(body).encode()
        head = (
            f"{method} {path} HTTP/1.0\r\nHost: docker\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
        )
        writer.write(head.encode() + data)
        await writer.drain()
        return reader, writer

    async def _status(self, reader: asyncio.StreamReader) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        status = int(head.split(b" ", 2)[1])
        if status >= 400:
            reply = await reader.read(65536)
            try:
                message = str(json.loads(reply)["message"])
            except (ValueError, KeyError, TypeError):
                message = reply.decode(errors="replace").strip()
            raise Refused(status, message)

    def _silent(self, reason: object) -> Unavailable:
        return Unavailable(
            f"The Docker engine does not answer at {self._host!r}: {reason}. Is it running, and may we use it?"
        )
