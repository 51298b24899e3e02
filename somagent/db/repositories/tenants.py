"""Tenants: known to everybody, made only by the owner of the database."""

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncEngine

from somagent.db.errors import translated
from somagent.db.schema.tables import tenants


@dataclass(frozen=True)
class Tenants:
    engine: AsyncEngine

    async def exists(self, tenant: str) -> bool:
        async with translated(), self.engine.connect() as connection:
            return (await connection.scalar(select(tenants.c.id).where(tenants.c.id == tenant))) is not None

    async def list(self) -> tuple[str, ...]:
        async with translated(), self.engine.connect() as connection:
            return tuple((await connection.scalars(select(tenants.c.id).order_by(tenants.c.id))).all())

    async def add(self, tenant: str) -> None:
        """Add a tenant; adding it again changes nothing. Needs the owner's connection."""
        async with translated(), self.engine.begin() as connection:
            await connection.execute(insert(tenants).values(id=tenant).on_conflict_do_nothing())
