"""Memory in PostgreSQL with pgvector: implements `capsules.memory.items.Memories`."""

import hashlib
from dataclasses import dataclass

from sqlalchemy import select, text
from sqlalchemy.dialects.postgresql import insert

from capsules.memory.items import Embedder, MemoryItem
from somagent.db.database import Database
from somagent.db.schema.tables import from_row, memories

# With filters, one approximate index scan can give fewer than `limit` rows; an iterative scan goes on.
COMPLETE_SCAN = text("SET LOCAL hnsw.iterative_scan = strict_order")


@dataclass(frozen=True)
class PostgresMemories:
    """Memory items of all tenants. Queries name the tenant, and row-level security enforces it."""

    db: Database
    embedder: Embedder

    async def remember(  # noqa: PLR0913 - the port's
        self, tenant: str, *, run: str, key: str, space: str, text: str, labels: dict[str, str]
    ) -> str:
        """Store a text and return its id, which is derived from `key`; the first item of a key stays."""
        [vector] = (await self.embedder.embed((text,))).vectors
        id_ = f"mem-{hashlib.sha256(key.encode()).hexdigest()[:32]}"
        row = {
            "tenant_id": tenant,
            "id": id_,
            "space": space,
            "text": text,
            "labels": labels,
            "run": run,
            "key": key,
            "embedding": list(vector),
        }
        async with self.db.transaction(tenant) as tx:
            await tx.connection.execute(insert(memories).values(**row).on_conflict_do_nothing())
        return id_

    async def recall(self, tenant: str, *, space: str, query: str, limit: int) -> tuple[MemoryItem, ...]:
        """Return the most similar items of a space, best first; the score is the cosine similarity."""
        [vector] = (await self.embedder.embed((query,))).vectors
        distance = memories.c.embedding.cosine_distance(list(vector)).label("distance")
        nearest = (
            select(memories.c.id, memories.c.text, memories.c.labels, memories.c.run, distance)
            .where((memories.c.tenant_id == tenant) & (memories.c.space == space))
            .order_by(distance)
            .limit(limit)
        )
        async with self.db.transaction(tenant) as tx:
            await tx.connection.execute(COMPLETE_SCAN)
            rows = (await tx.connection.execute(nearest)).all()
        return tuple(from_row(MemoryItem, row, score=1.0 - row.distance) for row in rows)
