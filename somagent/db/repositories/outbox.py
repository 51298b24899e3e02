"""The outbox: an event is written in the transaction that makes it true, and the relay publishes it on the bus.

The relay publishes before it marks, so an event leaves at least once; its id tells receivers which they have seen. Ids
can become visible out of order across runs, so each event has a mark of its own; a position would skip some.
"""

import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, func, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from capsules.events import Event, Topic
from somagent.db.errors import begun, translated
from somagent.db.pages import bounded
from somagent.db.schema.tables import outbox


@dataclass(frozen=True)
class Events:
    connection: AsyncConnection
    tenant: str

    async def add(self, topic: Topic, type_: str, run: str | None, data: dict[str, Any]) -> Event:
        """Write an event. A run's row is locked first, so that its events become visible in the order of their ids."""
        if run is not None:
            await self.connection.execute(text("SELECT 1 FROM runs WHERE id = :run FOR NO KEY UPDATE"), {"run": run})
        row = await self.connection.execute(
            insert(outbox).values(topic=topic, type=type_, tenant_id=self.tenant, run=run, data=data).returning(outbox)
        )
        return event(row.one())

    async def after(self, run: str, id_: int = 0, limit: int = 500) -> list[Event]:
        """Return a run's events that come after `id_`, oldest first."""
        query = (
            select(outbox)
            .where((outbox.c.run == run) & (outbox.c.id > id_))
            .order_by(outbox.c.id)
            .limit(bounded(limit))
        )
        return [event(row) for row in (await self.connection.execute(query)).all()]


def event(row: Row[Any]) -> Event:
    return Event(id=row.id, topic=row.topic, type=row.type, tenant=row.tenant_id, run=row.run, at=row.at, data=row.data)


@dataclass(frozen=True)
class Batch:
    """Events that are locked for this relay until the batch ends; others skip them."""

    connection: AsyncConnection
    events: tuple[Event, ...]

    async def mark(self, ids: Sequence[int]) -> None:
        """Mark events as published; it counts when the batch ends without an error."""
        await self.connection.execute(update(outbox).where(outbox.c.id.in_(ids)).values(published_at=func.now()))


@contextlib.asynccontextmanager
async def next_batch(engine: AsyncEngine, limit: int = 500) -> AsyncIterator[Batch]:
    """Yield the oldest unpublished events of all tenants. Needs the relay's connection."""
    query = select(outbox).where(outbox.c.published_at.is_(None)).order_by(outbox.c.id).limit(limit)
    async with begun(engine) as connection:
        rows = (await connection.execute(query.with_for_update(skip_locked=True))).all()
        yield Batch(connection, tuple(event(row) for row in rows))


async def backlog(engine: AsyncEngine) -> int:
    """Return how many events wait to be published."""
    async with translated(), engine.connect() as connection:
        return int(await connection.scalar(text("SELECT count(*) FROM outbox WHERE published_at IS NULL")) or 0)
