"""A migrated PostgreSQL and the real embedding model."""

import itertools

import pytest

from somagent.db.database import Store
from somagent.memory.embedder import MiniLmEmbedder
from somagent.memory.pgvector import PostgresMemories

numbers = itertools.count(1)


@pytest.fixture
def memories(store: Store, embedder: MiniLmEmbedder) -> PostgresMemories:
    return PostgresMemories(store, embedder)


@pytest.fixture
async def tenant(owner: Store) -> str:
    name = f"memory-{next(numbers)}"
    await owner.tenants.add(name)
    return name
