"""The application's database, with the constitution that test entries name."""

import datetime as dt
from collections.abc import AsyncIterator

import pytest
from constitutions import key_ring, make_active
from ledger_messages import constitution

from somagent.db.database import Database, open_database
from somagent.settings import Settings


@pytest.fixture(scope="session")
async def db(migrated: Settings, owner: Database) -> AsyncIterator[Database]:
    await make_active(owner, constitution(dt.datetime.now(dt.UTC)))
    async with open_database(migrated.database("app"), connections=20, keys=key_ring(migrated)) as opened:
        yield opened
