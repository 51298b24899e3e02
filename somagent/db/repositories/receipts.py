"""Receipts, as the database wrote them: this side can only read. `sql/receipts.sql` writes."""

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from capsules.audit.receipt import Receipt
from somagent.db import pages
from somagent.db.schema.tables import from_row, receipts


@dataclass(frozen=True)
class Receipts:
    connection: AsyncConnection

    async def list(self, run: str, after: int = 0, limit: int = 500) -> tuple[Receipt, ...]:
        """Return a run's receipts that come after sequence number `after`, in order."""
        query = (
            select(receipts)
            .where((receipts.c.run == run) & (receipts.c.seq > after))
            .order_by(receipts.c.seq)
            .limit(pages.bounded(limit))
        )
        rows = (await self.connection.execute(query)).all()
        return tuple(from_row(Receipt, row) for row in rows)
