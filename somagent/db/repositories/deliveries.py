"""Deliveries: which events a channel of notifications sends, and what became of each.

They are entered from the outbox and not from the bus: a notification must survive what the bus may forget, since its
streams are cut, expire, and are lost with Valkey. Each event has a row of its own beside the outbox. Ids become visible
out of order across runs, so there is no position to resume from.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row, func, literal, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from capsules.events import Delivery, Event, State
from capsules.read_models import Page
from somagent.db.errors import begun
from somagent.db.pages import read_page
from somagent.db.repositories.outbox import event
from somagent.db.schema.tables import deliveries, from_row, outbox

KEPT = timedelta(days=3)
"""How old an event may be that a channel is told of: one that is set up today must not tell of last year."""

_KEY = (deliveries.c.tenant_id, deliveries.c.event, deliveries.c.channel)
_TOLD = outbox.c.topic.in_(
    [literal(t, literal_execute=True) for t in ("approval.events", "budget.events", "constitution.updated")]
)


@dataclass(frozen=True)
class DueDelivery:
    """An event that is to be told now, by this attempt."""

    event: Event
    attempt: int


@dataclass(frozen=True)
class Outgoing:
    """The relay's side: every tenant's deliveries of one channel."""

    engine: AsyncEngine
    channel: str

    async def enter(self, types: Sequence[str]) -> datetime:
        """Note every recent event of these types for this channel, once; return the database's time of it."""
        known = select(deliveries.c.event).where(
            (deliveries.c.event == outbox.c.id)
            & (deliveries.c.tenant_id == outbox.c.tenant_id)
            & (deliveries.c.channel == self.channel)
        )
        new = (
            select(outbox.c.tenant_id, outbox.c.id, literal(self.channel))
            .where(_TOLD & outbox.c.type.in_(types) & (outbox.c.at > func.now() - KEPT) & ~known.exists())
            .order_by(outbox.c.id)
        )
        entering = insert(deliveries).from_select(["tenant_id", "event", "channel"], new).on_conflict_do_nothing()
        async with begun(self.engine) as connection:
            await connection.execute(entering)
            now: datetime = (await connection.execute(select(func.clock_timestamp()))).scalar_one()
            return now

    async def take(self, before: datetime, *, lease: timedelta) -> DueDelivery | None:
        """Return the oldest event that was due then, and keep others from it for the lease, which a crash outlasts."""
        oldest = (
            select(*_KEY)
            .where(
                (deliveries.c.channel == self.channel)
                & (deliveries.c.state == "waiting")
                & (deliveries.c.due_at <= before)
            )
            .order_by(deliveries.c.event)
            .limit(1)
            .with_for_update(skip_locked=True)
        )
        async with begun(self.engine) as connection:
            found = (await connection.execute(oldest)).first()
            if found is None:
                return None
            taking = update(deliveries).where(tuple_(*_KEY) == tuple_(*found))
            values = {"attempts": deliveries.c.attempts + 1, "due_at": func.now() + lease}
            attempt = await connection.scalar(taking.values(**values).returning(deliveries.c.attempts))
            row = (await connection.execute(select(outbox).where(outbox.c.id == found.event))).first()
            if row is None:  # pruned meanwhile
                await connection.execute(taking.values(state="dead", said="The event is gone.", ended_at=func.now()))
                return None
            return DueDelivery(event(row), attempt or 1)

    async def end(self, due: DueDelivery, state: State, said: str) -> None:
        await self._write(due, state=state, said=said, ended_at=func.now())

    async def postpone(self, due: DueDelivery, said: str, *, wait: timedelta) -> None:
        await self._write(due, said=said, due_at=func.now() + wait)

    async def _write(self, due: DueDelivery, **values: Any) -> None:  # noqa: ANN401 - SQL values
        mine = (
            (deliveries.c.tenant_id == due.event.tenant)
            & (deliveries.c.event == due.event.id)
            & (deliveries.c.channel == self.channel)
        )
        async with begun(self.engine) as connection:
            await connection.execute(update(deliveries).where(mine).values(**values))


@dataclass(frozen=True)
class Deliveries:
    """A tenant's own deliveries, to look at."""

    connection: AsyncConnection

    async def list(self, state: State | None = None, cursor: str | None = None, limit: int = 50) -> Page[Delivery]:
        """Return a page, newest event first."""
        query = select(deliveries)
        if state:
            query = query.where(deliveries.c.state == state)
        keys = (deliveries.c.event, deliveries.c.channel)
        return await read_page(self.connection, query, keys, _delivery, cursor=cursor, limit=limit)


def _delivery(row: Row[Any]) -> Delivery:
    return from_row(Delivery, row)
