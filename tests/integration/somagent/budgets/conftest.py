"""The application's store, with the constitution that test entries name."""

import datetime as dt
from collections.abc import AsyncIterator

import pytest
from constitutions import codec, make_active
from entries import constitution

from somagent.db.database import Store, open_store
from somagent.settings import Settings


@pytest.fixture(scope="session")
async def store(postgres_settings: Settings, owner: Store) -> AsyncIterator[Store]:
    await make_active(owner, constitution(dt.datetime.now(dt.UTC)))
    async with open_store(postgres_settings.database("app"), connections=20, codec=codec(postgres_settings)) as opened:
        yield opened
