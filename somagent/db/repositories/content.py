"""Content, stored under its digest and never changed; and artifacts: the content that runs publish, by name."""

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert

from capsules.digest import Digest, sha256
from capsules.errors import NotFound, TamperedContent
from capsules.runs.run import Artifact, ArtifactRecord
from somagent.db.repositories.repository import Repository
from somagent.db.schema.tables import artifacts, content_blobs, from_row


class Contents(Repository):
    """Content of one tenant."""

    async def put(self, data: bytes, media_type: str) -> Digest:
        """Store bytes and return their digest. Idempotent."""
        digest = sha256(data)
        values = {"tenant_id": self.tenant, "digest": digest, "media_type": media_type, "data": data}
        # Retention keeps content that a run may have stored again a short time ago.
        again = {"last_put_at": func.now()}
        statement = insert(content_blobs).values(**values)
        await self.connection.execute(
            statement.on_conflict_do_update(index_elements=["tenant_id", "digest"], set_=again)
        )
        return digest

    async def get(self, digest: Digest) -> bytes:
        """Return the bytes. Raises NotFound, or TamperedContent when they do not match the digest."""
        data = await self.connection.scalar(select(content_blobs.c.data).where(content_blobs.c.digest == digest))
        if data is None:
            raise NotFound(f"There is no content {digest!r}.", digest=digest)
        found = sha256(data)
        if found != digest:
            raise TamperedContent(
                f"The bytes stored as {digest!r} have the digest {found!r}: restore them from a backup.",
                digest=digest,
                found=found,
            )
        return bytes(data)


class Artifacts(Repository):
    """The lists of artifacts of one tenant's runs."""

    async def add(self, run: str, artifact: Artifact) -> None:
        """Add an artifact to a run's list. Idempotent."""
        values = {"run": run, **artifact.model_dump()}
        await self.connection.execute(
            insert(artifacts).values(tenant_id=self.tenant, **values).on_conflict_do_nothing()
        )

    async def list(self, run: str) -> tuple[ArtifactRecord, ...]:
        """Return the artifacts of a run, oldest first."""
        query = select(artifacts).where(artifacts.c.run == run).order_by(artifacts.c.created_at, artifacts.c.name)
        rows = await self._all(query)
        return tuple(from_row(ArtifactRecord, row) for row in rows)
