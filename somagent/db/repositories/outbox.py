"""Outbox: an event is written in the transaction of the fact that it reports, and the relay publishes it on the bus.

The relay publishes before it marks, so delivery is at least once; the id tells receivers which events they have seen.
Ids can become visible out of order across runs, so each event has its own mark instead of a common position.
"""

import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, exists, func, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from capsules.events import Event, Topic
from somagent.db.errors import begin
from somagent.db.pages import check_limit
from somagent.db.repositories.repository import Repository
from somagent.db.schema.tables import from_row, outbox

PUBLISH = text("SELECT * FROM event_publish(:topic, :type, :run, CAST(:data AS json))").columns(
    **{column.name: column.type for column in outbox.c}
)


class Publisher(Repository):
    """A repository whose changes are published as events."""

    async def _publish(self, topic: Topic, type_: str, run: str | None, data: dict[str, Any]) -> Event:
        """Write an event. The run's row is locked first: its events become visible in the order of their ids."""
        values = {"topic": topic, "type": type_, "run": run, "data": json.dumps(data)}
        return event_of((await self.connection.execute(PUBLISH, values)).one())


class Events(Publisher):
    """The events of one tenant."""

    async def add(self, topic: Topic, type_: str, run: str | None, data: dict[str, Any]) -> Event:
        """Write an event of a change that has no repository."""
        return await self._publish(topic, type_, run, data)

    async def after(self, run: str, id_: int = 0, limit: int = 500) -> list[Event]:
        """Return a run's events that come after `id_`, oldest first."""
        query = select(outbox).where((outbox.c.run == run) & (outbox.c.id > id_))
        return [event_of(row) for row in await self._all(query.order_by(outbox.c.id).limit(check_limit(limit)))]


def event_of(row: Row[Any]) -> Event:
    """Return the event of a row of the outbox."""
    return from_row(Event, row, tenant=row.tenant_id)


@dataclass(frozen=True)
class Batch:
    """Unpublished events, locked until the batch ends; other relays skip them."""

    connection: AsyncConnection
    events: tuple[Event, ...]

    async def mark_published(self) -> None:
        """Mark the events as published. This is committed when the batch ends without an error."""
        own = outbox.c.id.in_([event.id for event in self.events])
        await self.connection.execute(update(outbox).where(own).values(published_at=func.now()))


async def events_wait(connection: AsyncConnection) -> bool:
    """Return whether any tenant has an unpublished event. Needs the relay's role."""
    return bool(await connection.scalar(select(exists(select(outbox.c.id).where(outbox.c.published_at.is_(None))))))


@contextlib.asynccontextmanager
async def next_batch(engine: AsyncEngine, limit: int = 500) -> AsyncIterator[Batch]:
    """Yield the oldest unpublished events of all tenants. Needs the relay's role."""
    query = select(outbox).where(outbox.c.published_at.is_(None)).order_by(outbox.c.id).limit(limit)
    async with begin(engine) as connection:
        rows = (await connection.execute(query.with_for_update(skip_locked=True))).all()
        yield Batch(connection, tuple(event_of(row) for row in rows))
