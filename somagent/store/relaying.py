"""The relay's side of the outbox: every tenant's unpublished events, and the mark that they have left.

Opened with the relay role's URL. Publishing comes before marking, so an event leaves at least once; its id tells
receivers which they have seen. Ids can become visible out of order across runs, so the mark is per event, never a
position.
"""

import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from sqlalchemy import func, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from capsules.events import Event
from somagent.store.database import Store
from somagent.store.events import event
from somagent.store.faults import begun, translated
from somagent.store.tables import outbox


@dataclass(frozen=True)
class Batch:
    """Events that are locked for this relay until the batch ends; others skip them."""

    connection: AsyncConnection
    events: tuple[Event, ...]

    async def mark(self, ids: Sequence[int]) -> None:
        """Mark events as published; it counts when the batch ends without an error."""
        await self.connection.execute(update(outbox).where(outbox.c.id.in_(ids)).values(published_at=func.now()))


@contextlib.asynccontextmanager
async def next_batch(store: Store, limit: int = 500) -> AsyncIterator[Batch]:
    """Yield the oldest unpublished events."""
    query = select(outbox).where(outbox.c.published_at.is_(None)).order_by(outbox.c.id).limit(limit)
    async with begun(store.engine) as connection:
        rows = (await connection.execute(query.with_for_update(skip_locked=True))).all()
        yield Batch(connection, tuple(event(row) for row in rows))


async def backlog(store: Store) -> int:
    """Return how many events wait to be published."""
    async with translated(), store.engine.connect() as connection:
        return int(await connection.scalar(text("SELECT count(*) FROM outbox WHERE published_at IS NULL")) or 0)
