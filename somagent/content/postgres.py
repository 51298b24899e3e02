"""Content and lists of artifacts in PostgreSQL, each operation in a transaction of its own."""

from dataclasses import dataclass

from capsules.digest import Digest
from capsules.runs.run import Artifact
from somagent.db.database import Database


@dataclass(frozen=True)
class PostgresContent:
    """Implements `capsules.digest.ContentStore`."""

    db: Database

    async def put(self, tenant: str, data: bytes, media_type: str) -> Digest:
        """Store bytes and return their digest. Idempotent."""
        async with self.db.transaction(tenant) as tx:
            return await tx.contents.put(data, media_type)

    async def get(self, tenant: str, digest: Digest) -> bytes:
        """Return the bytes. Raises NotFound, or TamperedContent when they do not match the digest."""
        async with self.db.transaction(tenant) as tx:
            return await tx.contents.get(digest)


@dataclass(frozen=True)
class PostgresArtifacts:
    """Implements `activities.artifacts.ArtifactStore`."""

    db: Database

    async def add(self, tenant: str, run: str, artifact: Artifact, data: bytes) -> None:
        """Store the content and list the artifact with its run, in one transaction. Idempotent."""
        async with self.db.transaction(tenant) as tx:
            await tx.contents.put(data, artifact.media_type)
            await tx.artifacts.add(run, artifact)
