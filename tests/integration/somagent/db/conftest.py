"""A migrated database of this folder's own, opened as each role; every test has a tenant of its own.

These tests write rows that no run would leave. In the database that the other folders share they would stop a sweep.
"""

import datetime as dt
from collections.abc import AsyncIterator

import pytest
from constitutions import key_ring, make_active
from databases import own_settings
from ledger_messages import constitution, next_number

from somagent.db.database import Database, open_database
from somagent.db.gate.ledger import PostgresLedger
from somagent.db.repositories.audit_blocks import BlockWriter
from somagent.settings import Settings


@pytest.fixture(scope="session")
async def postgres_settings(postgres_settings: Settings, template: str) -> AsyncIterator[Settings]:
    async with own_settings(postgres_settings, "db_tests", template=template) as own:
        yield own


@pytest.fixture(scope="session")
async def owner(postgres_settings: Settings) -> AsyncIterator[Database]:
    async with open_database(postgres_settings.database("owner"), keys=key_ring(postgres_settings)) as opened:
        yield opened


@pytest.fixture(scope="session")
async def db(postgres_settings: Settings, owner: Database) -> AsyncIterator[Database]:
    await make_active(owner, constitution(dt.datetime.now(dt.UTC)))
    async with open_database(
        postgres_settings.database("app"), connections=20, keys=key_ring(postgres_settings)
    ) as opened:
        yield opened


@pytest.fixture(scope="session")
async def relay(postgres_settings: Settings, owner: Database) -> AsyncIterator[Database]:
    async with open_database(postgres_settings.database("relay")) as opened:
        yield opened


@pytest.fixture(scope="session")
async def blocks(postgres_settings: Settings, owner: Database) -> AsyncIterator[BlockWriter]:
    async with open_database(postgres_settings.database("sealer")) as opened:
        yield BlockWriter(opened.pool)


@pytest.fixture
async def tenant(owner: Database, db: Database) -> str:
    name = f"store-{next_number()}"
    await owner.tenants.add(name)
    return name


@pytest.fixture
def ledger(db: Database) -> PostgresLedger:
    return PostgresLedger(db)
