"""A migrated PostgreSQL, opened as each role; every test has a tenant of its own."""

import datetime as dt
from collections.abc import AsyncIterator

import pytest
from constitutions import codec, make_active
from entries import constitution, number

from somagent.db.database import Store, open_store
from somagent.db.gate.ledger import PostgresLedger
from somagent.db.repositories.audit_blocks import BlockWriter
from somagent.settings import Settings


@pytest.fixture(scope="session")
async def store(postgres_settings: Settings, owner: Store) -> AsyncIterator[Store]:
    await make_active(owner, constitution(dt.datetime.now(dt.UTC)))
    async with open_store(postgres_settings.database("app"), connections=20, codec=codec(postgres_settings)) as opened:
        yield opened


@pytest.fixture(scope="session")
async def relay(postgres_settings: Settings, owner: Store) -> AsyncIterator[Store]:
    async with open_store(postgres_settings.database("relay")) as opened:
        yield opened


@pytest.fixture(scope="session")
async def blocks(postgres_settings: Settings, owner: Store) -> AsyncIterator[BlockWriter]:
    async with open_store(postgres_settings.database("sealer")) as opened:
        yield BlockWriter(opened.pool)


@pytest.fixture
async def tenant(owner: Store, store: Store) -> str:
    name = f"store-{number()}"
    await owner.tenants.add(name)
    return name


@pytest.fixture
def ledger(store: Store) -> PostgresLedger:
    return PostgresLedger(store)
