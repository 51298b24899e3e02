"""The outbox: an event is written in the transaction that makes it true; the relay carries it to the bus."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, insert, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from capsules.events import Event, Topic
from somagent.store import paging
from somagent.store.tables import outbox


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
            .limit(paging.bounded(limit))
        )
        return [event(row) for row in (await self.connection.execute(query)).all()]


def event(row: Row[Any]) -> Event:
    return Event(id=row.id, topic=row.topic, type=row.type, tenant=row.tenant_id, run=row.run, at=row.at, data=row.data)
