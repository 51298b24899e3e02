"""Retention of a tenant, its legal holds, and the deletion of content that is due (`sql/retention.sql`, relay only)."""

import uuid

from sqlalchemy import func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncEngine

from capsules.errors import Conflict, NotFound
from capsules.retention import DueContent, Hold, HoldRequest, Retention
from somagent.db.errors import translate_errors
from somagent.db.repositories.repository import Repository
from somagent.db.schema.tables import from_row, legal_holds, retention


class Retentions(Repository):
    """Retention terms and legal holds of one tenant."""

    async def terms(self) -> Retention:
        """Return the terms. A tenant without terms keeps everything."""
        row = await self._first(select(retention))
        return from_row(Retention, row) if row else Retention()

    async def set(self, terms: Retention, *, by: str) -> None:
        """Set the terms."""
        values = {**terms.model_dump(), "set_by": by}
        statement = insert(retention).values(tenant_id=self.tenant, **values)
        await self.connection.execute(
            statement.on_conflict_do_update(index_elements=["tenant_id"], set_={**values, "set_at": func.now()})
        )

    async def due(self) -> DueContent:
        """Return what would be deleted now."""
        return DueContent.model_validate(await self.connection.scalar(text("SELECT retention_due()")))

    async def place(self, hold: HoldRequest, *, by: str) -> Hold:
        """Place a legal hold."""
        values = {"tenant_id": self.tenant, "id": uuid.uuid4().hex[:12], "placed_by": by, **hold.model_dump()}
        row = (await self.connection.execute(insert(legal_holds).values(**values).returning(legal_holds))).one()
        return from_row(Hold, row)

    async def lift(self, hold: str, *, by: str) -> Hold:
        """Lift a hold. Raises NotFound, or Conflict for one that was lifted before."""
        query = (
            update(legal_holds)
            .where(legal_holds.c.id == hold, legal_holds.c.lifted_at.is_(None))
            .values(lifted_by=by, lifted_at=func.now())
            .returning(legal_holds)
        )
        row = await self._first(query)
        if row is not None:
            return from_row(Hold, row)
        if await self.connection.scalar(select(legal_holds.c.id).where(legal_holds.c.id == hold)) is None:
            raise NotFound(f"There is no legal hold {hold!r}.", hold=hold)
        raise Conflict(f"The legal hold {hold!r} was lifted before.", hold=hold)

    async def holds(self) -> tuple[Hold, ...]:
        """Return every hold, newest first, with lifted ones at the end."""
        query = select(legal_holds).order_by(legal_holds.c.lifted_at.is_not(None), legal_holds.c.placed_at.desc())
        return tuple(from_row(Hold, row) for row in await self._all(query))


async def prune(engine: AsyncEngine, tenant: str, most: int) -> DueContent:
    """Delete at most `most` items of each kind that are due in a tenant. Needs the relay's role."""
    async with translate_errors(), engine.begin() as connection:
        deleted = await connection.scalar(
            text("SELECT retention_prune(:tenant, :most)"), {"tenant": tenant, "most": most}
        )
    return DueContent.model_validate(deleted)
