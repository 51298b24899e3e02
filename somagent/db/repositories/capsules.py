"""Published capsules: one immutable row for each version; the database refuses to change or delete one."""

from typing import Any

from sqlalchemy import Row, select
from sqlalchemy.dialects.postgresql import insert

from capsules.base_model import Page
from capsules.capsule import Capsule, PublishedCapsule
from capsules.digest import Digest
from capsules.errors import Conflict, NotFound
from capsules.names import Reference, version_key
from somagent.db.pages import read_page
from somagent.db.repositories.outbox import Publisher
from somagent.db.schema.tables import capsules, from_row


class Capsules(Publisher):
    """The published capsules of one tenant."""

    async def publish(
        self, capsule: Capsule, *, digest: Digest, signature: str, key_id: str, by: str
    ) -> PublishedCapsule:
        """Publish a version; idempotent for the same content. Raises Conflict when it exists with other content."""
        name, version = capsule.metadata.name, capsule.metadata.version
        created = await self.connection.execute(
            insert(capsules)
            .values(
                tenant_id=self.tenant,
                name=name,
                version=version,
                digest=digest,
                document=capsule.model_dump(mode="json", by_alias=True),
                signature=signature,
                key_id=key_id,
                published_by=by,
            )
            .on_conflict_do_nothing()
        )
        published = await self._version(name, version)
        if published.digest != digest:
            raise Conflict(
                f"{capsule.ref} is published with other content ({published.digest}). Publish this as a new version.",
                published=published.digest,
                offered=digest,
            )
        if created.rowcount:
            data = {"capsule": capsule.ref, "digest": digest, "by": by}
            await self._publish("capsule.events", "capsule.published", None, data)
        return published

    async def get(self, reference: Reference) -> PublishedCapsule:
        """Return the highest version that fits. Raises NotFound with the versions that exist."""
        query = select(capsules.c.version).where(capsules.c.name == reference.name)
        versions = sorted((await self.connection.scalars(query)).all(), key=version_key)
        best = reference.highest(list(versions))
        if best is None:
            known = ", ".join(versions) or "none"
            raise NotFound(
                f"No published capsule is {str(reference)!r}. Versions of {reference.name!r}: {known}.",
                reference=str(reference),
                versions=list(versions),
            )
        return await self._version(reference.name, best)

    async def list(self, cursor: str | None = None, limit: int = 50) -> Page[PublishedCapsule]:
        """Return a page by name and version."""
        keys = (capsules.c.name, capsules.c.version)
        return await read_page(
            self.connection, select(capsules), keys, _published, cursor=cursor, limit=limit, ascending=True
        )

    async def _version(self, name: str, version: str) -> PublishedCapsule:
        query = select(capsules).where((capsules.c.name == name) & (capsules.c.version == version))
        return _published((await self.connection.execute(query)).one())


def _published(row: Row[Any]) -> PublishedCapsule:
    return from_row(PublishedCapsule, row, capsule=Capsule.model_validate(row.document))
