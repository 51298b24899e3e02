"""Content and lists of artifacts in PostgreSQL, each operation in a transaction of its own."""

from dataclasses import dataclass

from capsules.digest import Digest
from capsules.runs.run import Artifact
from somagent.db.database import Store


@dataclass(frozen=True)
class PostgresContent:
    store: Store

    async def put(self, tenant: str, data: bytes, media_type: str) -> Digest:
        async with self.store.transaction(tenant) as tx:
            return await tx.contents.put(data, media_type)

    async def get(self, tenant: str, digest: Digest) -> bytes:
        """Return the bytes. Raises NotFound, or TamperedContent when they do not match the digest."""
        async with self.store.transaction(tenant) as tx:
            return await tx.contents.get(digest)


class PostgresArtifacts:
    """Implements `activities.artifacts.ArtifactStore`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def add(self, tenant: str, run: str, artifact: Artifact) -> None:
        """List an artifact with its run."""
        async with self._store.transaction(tenant) as tx:
            await tx.artifacts.add(
                run,
                name=artifact.name,
                media_type=artifact.media_type,
                digest=artifact.digest,
                size=artifact.size,
            )
