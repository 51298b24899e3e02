"""Constitutions as installed: global, one active, readable by all and written only by the owner of the database."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncEngine

from capsules.digest import Digest
from capsules.errors import ConstitutionRefused, NotFound
from capsules.records import ConstitutionRecord
from somagent.store.faults import translated
from somagent.store.tables import constitutions


@dataclass(frozen=True)
class Constitutions:
    engine: AsyncEngine

    async def active(self) -> ConstitutionRecord:
        """Return the active one. Raises ConstitutionRefused when there is none."""
        async with translated(), self.engine.connect() as connection:
            row = (await connection.execute(select(constitutions).where(constitutions.c.state == "active"))).first()
        if row is None:
            raise ConstitutionRefused("No constitution is active, so nothing may run. Install one as the owner.")
        return _record(row)

    async def get(self, digest: Digest) -> ConstitutionRecord:
        async with translated(), self.engine.connect() as connection:
            row = (await connection.execute(select(constitutions).where(constitutions.c.digest == digest))).first()
        if row is None:
            raise NotFound(f"No constitution {digest!r} was ever installed.", digest=digest)
        return _record(row)

    async def list(self) -> tuple[ConstitutionRecord, ...]:
        query = select(constitutions).order_by(constitutions.c.installed_at.desc(), constitutions.c.digest)
        async with translated(), self.engine.connect() as connection:
            return tuple(_record(row) for row in (await connection.execute(query)).all())

    async def install(self, record: ConstitutionRecord) -> None:
        """Install a constitution, or change the state of a known one. Needs the owner's connection.

        The one that was active before an active one is retired: runs that pinned it go on under it.
        """
        values = record.model_dump()
        async with translated(), self.engine.begin() as connection:
            if record.state == "active":
                others = (constitutions.c.state == "active") & (constitutions.c.digest != record.digest)
                await connection.execute(update(constitutions).where(others).values(state="retired"))
            await connection.execute(
                insert(constitutions)
                .values(**values)
                .on_conflict_do_update(index_elements=[constitutions.c.digest], set_={"state": record.state})
            )


def _record(row: Row[Any]) -> ConstitutionRecord:
    return ConstitutionRecord.model_validate(dict(row._mapping))  # noqa: SLF001 - SQLAlchemy's public name for it
