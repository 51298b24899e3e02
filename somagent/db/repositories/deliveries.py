"""Deliveries of notifications: the events that a channel sends, and the state of each delivery.

They are entered from the outbox, not from the bus, because the bus may lose events and a notification must not be lost.
Each event has a row of its own for each channel: ids become visible out of order across runs, so there is no position
to resume from.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from sqlalchemy import func, literal, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncEngine

from capsules.base_model import Page
from capsules.events import Delivery, DeliveryState, Event
from somagent.db.errors import begin
from somagent.db.pages import read_page
from somagent.db.repositories.outbox import event_of
from somagent.db.repositories.repository import Repository
from somagent.db.schema.tables import deliveries, from_row, outbox

NEWEST = timedelta(days=3)
"""Maximum age of an event that is entered, so that a new channel does not send last year's events."""

_KEY = (deliveries.c.tenant_id, deliveries.c.event, deliveries.c.channel)
_NOTIFIED = outbox.c.topic.in_(
    [literal(t, literal_execute=True) for t in ("approval.events", "budget.events", "constitution.updated")]
)


@dataclass(frozen=True)
class DueDelivery:
    """An event that is to be sent now, and the number of this attempt."""

    event: Event
    attempt: int


@dataclass(frozen=True)
class DeliveryQueue:
    """The deliveries of one channel, of all tenants. Needs the relay's role."""

    engine: AsyncEngine
    channel: str

    async def enqueue(self, types: Sequence[str]) -> datetime:
        """Add a delivery for each recent event of these types that has none; return the time of the database."""
        known = select(deliveries.c.event).where(
            (deliveries.c.event == outbox.c.id)
            & (deliveries.c.tenant_id == outbox.c.tenant_id)
            & (deliveries.c.channel == self.channel)
        )
        new = (
            select(outbox.c.tenant_id, outbox.c.id, literal(self.channel))
            .where(_NOTIFIED & outbox.c.type.in_(types) & (outbox.c.at > func.now() - NEWEST) & ~known.exists())
            .order_by(outbox.c.id)
        )
        addition = insert(deliveries).from_select(["tenant_id", "event", "channel"], new).on_conflict_do_nothing()
        async with begin(self.engine) as connection:
            await connection.execute(addition)
            now: datetime = (await connection.execute(select(func.clock_timestamp()))).scalar_one()
            return now

    async def take(self, before: datetime, *, lease: timedelta) -> DueDelivery | None:
        """Return the oldest event that is due at `before`, and hide it from other senders until the lease ends."""
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
        async with begin(self.engine) as connection:
            found = (await connection.execute(oldest)).first()
            if found is None:
                return None
            change = update(deliveries).where(tuple_(*_KEY) == tuple_(*found))
            values = {"attempts": deliveries.c.attempts + 1, "due_at": func.now() + lease}
            attempt = await connection.scalar(change.values(**values).returning(deliveries.c.attempts))
            row = (await connection.execute(select(outbox).where(outbox.c.id == found.event))).first()
            if row is None:  # pruned meanwhile
                await connection.execute(change.values(state="dead", said="The event is gone.", ended_at=func.now()))
                return None
            return DueDelivery(event_of(row), attempt or 1)

    async def finish(self, due: DueDelivery, state: DeliveryState, answer: str) -> None:
        """End a delivery as `sent` or `dead`. answer: of the receiver."""
        await self._write(due, state=state, said=answer, ended_at=func.now())

    async def postpone(self, due: DueDelivery, answer: str, *, wait: timedelta) -> None:
        """Let a delivery wait for its next attempt."""
        await self._write(due, said=answer, due_at=func.now() + wait)

    async def _write(self, due: DueDelivery, **values: Any) -> None:  # noqa: ANN401 - SQL values
        own = (
            (deliveries.c.tenant_id == due.event.tenant)
            & (deliveries.c.event == due.event.id)
            & (deliveries.c.channel == self.channel)
        )
        async with begin(self.engine) as connection:
            await connection.execute(update(deliveries).where(own).values(**values))


class Deliveries(Repository):
    """The deliveries of one tenant."""

    async def list(
        self, state: DeliveryState | None = None, cursor: str | None = None, limit: int = 50
    ) -> Page[Delivery]:
        """Return a page, newest event first."""
        query = select(deliveries)
        if state:
            query = query.where(deliveries.c.state == state)
        keys = (deliveries.c.event, deliveries.c.channel)
        return await read_page(self.connection, query, keys, partial(from_row, Delivery), cursor=cursor, limit=limit)
