"""The content store in PostgreSQL: an implementation of `capsules.digest.ContentStore`."""

from dataclasses import dataclass

from capsules.digest import Digest
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
