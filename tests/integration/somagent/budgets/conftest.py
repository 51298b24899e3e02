"""The application's database, with the constitution that test entries name."""

import datetime as dt
from collections.abc import AsyncIterator

import pytest
from constitutions import codec, make_active
from entries import constitution

from somagent.db.database import Database, open_database
from somagent.settings import Settings


@pytest.fixture(scope="session")
async def db(postgres_settings: Settings, owner: Database) -> AsyncIterator[Database]:
    await make_active(owner, constitution(dt.datetime.now(dt.UTC)))
    async with open_database(
        postgres_settings.database("app"), connections=20, codec=codec(postgres_settings)
    ) as opened:
        yield opened
