"""Deliveries of a tenant, to look at: what people were told of, and what never arrived."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from capsules.delivery import Delivery, State
from capsules.records import Page
from somagent.store import paging
from somagent.store.tables import deliveries


@dataclass(frozen=True)
class Deliveries:
    """A tenant's own deliveries, to look at."""

    connection: AsyncConnection

    async def list(self, state: State | None = None, cursor: str | None = None, limit: int = 50) -> Page[Delivery]:
        """Return a page, newest event first."""
        query = (
            select(deliveries)
            .order_by(deliveries.c.event.desc(), deliveries.c.channel.desc())
            .limit(paging.bounded(limit) + 1)
        )
        if cursor:
            number, channel = paging.decode(cursor, parts=2)
            query = query.where(
                tuple_(deliveries.c.event, deliveries.c.channel) < tuple_(paging.number(number), channel)
            )
        if state:
            query = query.where(deliveries.c.state == state)
        rows = (await self.connection.execute(query)).all()
        return paging.page(rows, limit=limit, item=_delivery, key=lambda row: (str(row.event), row.channel))


def _delivery(row: Row[Any]) -> Delivery:
    return Delivery.model_validate(
        {name: value for name, value in row._mapping.items() if name in Delivery.model_fields}  # noqa: SLF001
    )
