"""A migrated PostgreSQL and the real embedding model."""

import itertools

import pytest

from somagent.db.database import Database
from somagent.memory.embedder import MiniLmEmbedder
from somagent.memory.pgvector import PostgresMemories

numbers = itertools.count(1)


@pytest.fixture
def memories(db: Database, embedder: MiniLmEmbedder) -> PostgresMemories:
    return PostgresMemories(db, embedder)


@pytest.fixture
async def tenant(owner: Database) -> str:
    name = f"memory-{next(numbers)}"
    await owner.tenants.add(name)
    return name
