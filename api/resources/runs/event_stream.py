"""Event stream of a run: one stream of the stored events in the outbox table and of reply tokens on the bus.

Events are read only from the table, so none is lost or sent twice. The bus carries tokens; a relayed event on it shows
that the table has a new event. Without the bus the table is read every second.
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

from api.access import holds_still
from api.authentication import Credential
from api.deps import State
from capsules.errors import Invalid, Unavailable
from capsules.events import Event
from capsules.runs.run import TERMINAL, RunRecord

POLL_SECONDS = 1.0
HEARTBEAT_SECONDS = 15.0
BUS_RETRY_SECONDS = 2.0
PAGE_SIZE = 200
QUEUE_SIZE = 2000
"""Bus entries that wait for a slow reader. When the queue is full, the bus is not read until the reader catches up."""

_ID = re.compile(r"^(\d{1,18})\.(\d{1,18}-\d{1,18})$")
_LAST_EVENT_ID = {"path": "header.last-event-id", "message": "expected the id of an event of this stream"}
log = logging.getLogger(__name__)
type StreamEntry = tuple[str, str, dict[str, Any]]


@dataclass(frozen=True)
class Position:
    """Position of a reader in the table and on the bus."""

    stored: int = 0
    bus: str = "0-0"

    @classmethod
    def parse(cls, text: str | None) -> Self:
        """Read a Last-Event-ID. Raises Invalid for a text that is not an id of this stream."""
        if not text:
            return cls()
        match = _ID.match(text)
        if match is None:
            raise Invalid(
                f"Last-Event-ID {text!r} is not an event id of this stream. Send the `id` of the last event received.",
                problems=[_LAST_EVENT_ID],
            )
        return cls(int(match[1]), match[2])

    def __str__(self) -> str:
        return f"{self.stored}.{self.bus}"


async def follow(state: State, run: RunRecord, position: Position, credential: Credential) -> AsyncIterator[str]:
    """Yield server-sent events until the run is closed and all its events are sent, or the credential is not valid."""
    entries: asyncio.Queue[StreamEntry] = asyncio.Queue(QUEUE_SIZE)
    # The replies of a finished run are in its transcript, so only stored events are sent.
    reader = None if run.status in TERMINAL else asyncio.create_task(_read_bus(state, run, position.bus, entries))
    try:
        with state.metrics.streams.track_inprogress():
            async for message in _Follower(state, run, position, entries, credential).messages():
                yield message
    finally:
        if reader is not None:
            reader.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await reader


class _Follower:
    def __init__(
        self,
        state: State,
        run: RunRecord,
        position: Position,
        entries: asyncio.Queue[StreamEntry],
        credential: Credential,
    ) -> None:
        self._state = state
        self._credential = credential
        self._run = run
        self._position = position
        self._entries = entries

    async def messages(self) -> AsyncIterator[str]:
        yield ": following\n\n"
        silent_since = time.monotonic()
        while (allowed := await self._is_allowed()) is not False:
            if allowed is None:  # nothing is sent to somebody who may have lost the right to it
                await asyncio.sleep(POLL_SECONDS)
                continue
            for event in await self._next_events():
                if event.type == "run.closed":
                    while token := self._queued_token():
                        yield token
                self._position = replace(self._position, stored=event.id)
                yield self._message(event.type, event.model_dump_json())
                silent_since = time.monotonic()
                if event.type == "run.closed":
                    return
            async for token in self._live_tokens():
                yield token
                silent_since = time.monotonic()
            if time.monotonic() - silent_since >= HEARTBEAT_SECONDS:
                yield ": still here\n\n"
                silent_since = time.monotonic()

    async def _is_allowed(self) -> bool | None:
        """Return whether the reader may read this still; None when that cannot be found out now."""
        try:
            return await holds_still(self._state, self._credential, "run:read")
        except Unavailable:
            return None

    async def _next_events(self) -> list[Event]:
        """Return the next stored events; none while the database cannot be reached, so that the stream goes on."""
        try:
            async with self._state.db.transaction(self._run.tenant) as tx:
                return list(await tx.events.after(self._run.id, self._position.stored, PAGE_SIZE))
        except Unavailable:
            return []

    async def _live_tokens(self) -> AsyncIterator[str]:
        """Yield tokens until a second has passed or the bus shows that the table has a new event."""
        until = time.monotonic() + POLL_SECONDS
        while (left := until - time.monotonic()) > 0:
            try:
                entry = await asyncio.wait_for(self._entries.get(), left)
            except TimeoutError:
                return
            token = self._accept(entry)
            if token is None:
                return
            yield token

    def _queued_token(self) -> str | None:
        while not self._entries.empty():
            if token := self._accept(self._entries.get_nowait()):
                return token
        return None

    def _accept(self, entry: StreamEntry) -> str | None:
        """Advance the position to a bus entry. Return its message when it is a token."""
        self._position = replace(self._position, bus=entry[0])
        return self._message("token", json.dumps(entry[2])) if entry[1] == "token" else None

    def _message(self, name: str, data: str) -> str:
        return f"id: {self._position}\nevent: {name}\ndata: {data}\n\n"


async def _read_bus(state: State, run: RunRecord, after: str, entries: asyncio.Queue[StreamEntry]) -> None:
    """Put the entries of the bus into the queue. When the bus fails, try again later: the stream works without it."""
    while True:
        try:
            async for stream_id, kind, data in state.bus.tail(run.tenant, run.id, after):
                after = stream_id
                await entries.put((stream_id, kind, data))
        except Unavailable as error:
            log.info("event_stream.bus_unreadable run=%s problem=%s", run.id, error)
        await asyncio.sleep(BUS_RETRY_SECONDS)
