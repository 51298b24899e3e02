"""Event stream of a run: stored events from the outbox table, and tokens of replies from the bus, as one stream.

Only the table defines the events, so none is lost or sent twice. The bus brings tokens, and a relayed event on it means
that the table has more. Without the bus the table is read every second.
An event's id is `{last stored event}.{last bus entry}`, so that a reconnect continues in both.
"""

import asyncio
import contextlib
import json
import logging
import re
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any, Self

from api.deps import State
from capsules.errors import Invalid, Unavailable
from capsules.events import Event
from capsules.runs.run import TERMINAL, RunRecord

ASK_SECONDS = 1.0
HEARTBEAT_SECONDS = 15.0
BUS_RETRY_SECONDS = 2.0
PAGE = 200
WAITING = 2000
"""Most bus entries that wait for a slow reader; the bus is not read further until it catches up."""

_ID = re.compile(r"^(\d{1,18})\.(\d{1,18}-\d{1,18})$")
log = logging.getLogger(__name__)
type StreamEntry = tuple[str, str, dict[str, Any]]


@dataclass(frozen=True)
class Position:
    """Position of a reader in the table and on the bus."""

    stored: int = 0
    bus: str = "0-0"

    @classmethod
    def parse(cls, text: str | None) -> Self:
        """Read a Last-Event-ID. Raises Invalid for one that we did not make."""
        if not text:
            return cls()
        match = _ID.match(text)
        if match is None:
            raise Invalid(f"{text!r} is not an event id of ours.", problems=[_LAST_EVENT_ID])
        return cls(int(match[1]), match[2])

    def __str__(self) -> str:
        return f"{self.stored}.{self.bus}"


_LAST_EVENT_ID = {"path": "header.last-event-id", "message": "expected the id of an event of this stream"}


async def follow(soma: State, run: RunRecord, position: Position) -> AsyncIterator[str]:
    """Yield server-sent events until the run is closed and all its events are sent."""
    entries: asyncio.Queue[StreamEntry] = asyncio.Queue(WAITING)
    # What a finished run said piece by piece is in its transcript; only stored events are told again.
    reader = None if run.status in TERMINAL else asyncio.create_task(_read_bus(soma, run, position.bus, entries))
    try:
        with soma.metrics.streams.track_inprogress():
            async for message in _Follower(soma, run, position, entries).messages():
                yield message
    finally:
        if reader is not None:
            reader.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await reader


class _Follower:
    def __init__(self, soma: State, run: RunRecord, position: Position, entries: asyncio.Queue[StreamEntry]) -> None:
        self._soma = soma
        self._run = run
        self._position = position
        self._entries = entries

    async def messages(self) -> AsyncIterator[str]:
        yield ": following\n\n"
        silent_since = time.monotonic()
        while True:
            for event in await self._stored():
                if event.type == "run.closed":
                    while token := self._waiting_token():
                        yield token
                self._position = replace(self._position, stored=event.id)
                yield self._message(event.type, event.model_dump_json())
                silent_since = time.monotonic()
                if event.type == "run.closed":
                    return
            async for token in self._live():
                yield token
                silent_since = time.monotonic()
            if time.monotonic() - silent_since >= HEARTBEAT_SECONDS:
                yield ": still here\n\n"
                silent_since = time.monotonic()

    async def _stored(self) -> list[Event]:
        """Return the next stored events. A database that is away for a moment does not end the stream."""
        try:
            async with self._soma.db.transaction(self._run.tenant) as tx:
                return list(await tx.events.after(self._run.id, self._position.stored, PAGE))
        except Unavailable:
            return []

    async def _live(self) -> AsyncIterator[str]:
        """Yield tokens until a second has passed or the bus says that a stored event is due."""
        until = time.monotonic() + ASK_SECONDS
        while (left := until - time.monotonic()) > 0:
            try:
                entry = await asyncio.wait_for(self._entries.get(), left)
            except TimeoutError:
                return
            token = self._take(entry)
            if token is None:
                return
            yield token

    def _waiting_token(self) -> str | None:
        while not self._entries.empty():
            if token := self._take(self._entries.get_nowait()):
                return token
        return None

    def _take(self, entry: StreamEntry) -> str | None:
        """Move past a bus entry; return its message when it is a token."""
        self._position = replace(self._position, bus=entry[0])
        return self._message("token", json.dumps(entry[2])) if entry[1] == "token" else None

    def _message(self, name: str, data: str) -> str:
        return f"id: {self._position}\nevent: {name}\ndata: {data}\n\n"


async def _read_bus(soma: State, run: RunRecord, after: str, entries: asyncio.Queue[StreamEntry]) -> None:
    """Put the bus's entries into the queue, again and again where the bus fails: it only ever adds to the table."""
    while True:
        try:
            async for stream_id, kind, data in soma.bus.tail(run.tenant, run.id, after):
                after = stream_id
                await entries.put((stream_id, kind, data))
        except Unavailable as error:
            log.info("the bus cannot be read for run %s, polling the table only: %s", run.id, error)
        await asyncio.sleep(BUS_RETRY_SECONDS)
