"""A migrated PostgreSQL and the real embedding model."""

import itertools
from collections.abc import AsyncIterator

import pytest

from somagent.memory.embedder import MiniLmEmbedder
from somagent.memory.pgvector import PostgresMemories
from somagent.settings import Settings
from somagent.store.database import Store, open_store
from somagent.store.migrate import upgrade

numbers = itertools.count(1)


@pytest.fixture(scope="session")
async def owner(postgres_settings: Settings) -> AsyncIterator[Store]:
    await upgrade(postgres_settings.database("owner"))
    async with open_store(postgres_settings.database("owner")) as store:
        yield store


@pytest.fixture(scope="session")
async def store(postgres_settings: Settings, owner: Store) -> AsyncIterator[Store]:
    async with open_store(postgres_settings.database("app")) as opened:
        yield opened


@pytest.fixture(scope="session")
def embedder() -> MiniLmEmbedder:
    return MiniLmEmbedder()


@pytest.fixture
def memories(store: Store, embedder: MiniLmEmbedder) -> PostgresMemories:
    return PostgresMemories(store, embedder)


@pytest.fixture
async def tenant(owner: Store) -> str:
    name = f"memory-{next(numbers)}"
    await owner.tenants.add(name)
    return name
