"""Artifacts: what runs hand over, by name; the bytes are in the content store."""

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from capsules.digest import Digest
from capsules.records import ArtifactRecord
from somagent.store.tables import artifacts


@dataclass(frozen=True)
class Artifacts:
    connection: AsyncConnection
    tenant: str

    async def add(self, run: str, *, name: str, media_type: str, digest: Digest, size: int) -> None:
        """Enter an artifact; the same content under the same name again changes nothing."""
        values = {"run": run, "name": name, "media_type": media_type, "digest": digest, "size": size}
        await self.connection.execute(
            insert(artifacts).values(tenant_id=self.tenant, **values).on_conflict_do_nothing()
        )

    async def list(self, run: str) -> tuple[ArtifactRecord, ...]:
        query = select(artifacts).where(artifacts.c.run == run).order_by(artifacts.c.created_at, artifacts.c.name)
        rows = (await self.connection.execute(query)).all()
        return tuple(ArtifactRecord.model_validate(dict(row._mapping)) for row in rows)  # noqa: SLF001
