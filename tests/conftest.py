"""Real servers for the whole session, each started when the first test asks for it.

No mocks: PostgreSQL, Valkey, Temporal and llama.cpp as the product starts them, on free ports in a temporary home.
"""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from constitutions import codec
from databases import own_database
from platforms import Platform, platform_in
from servers import running, settings_in, temporary_home

from somagent.db.database import Store, open_store
from somagent.db.schema.migrate import upgrade
from somagent.settings import Settings


@pytest.fixture(scope="session")
def home() -> Iterator[Path]:
    """A home for the session's stack."""
    with temporary_home() as directory:
        yield directory


@pytest.fixture(scope="session")
def settings(home: Path) -> Settings:
    """Settings of the session's stack. Starts nothing: ask for the servers that a test needs."""
    return settings_in(home)


@pytest.fixture(scope="session")
async def postgres_settings(settings: Settings) -> AsyncIterator[Settings]:
    """The settings, with PostgreSQL running, its roles made and its database empty of tables."""
    async with running(settings, "postgres"):
        yield settings


@pytest.fixture(scope="session")
async def migrated(postgres_settings: Settings) -> Settings:
    """The settings, with the database migrated."""
    await upgrade(postgres_settings.database("owner"))
    return postgres_settings


@pytest.fixture(scope="session")
async def template(postgres_settings: Settings) -> AsyncIterator[str]:
    """Name of a migrated database without rows. Copying it takes a fraction of migrating a new one."""
    async with own_database(postgres_settings, "migrated_template") as url:
        await upgrade(url("owner"))
        yield "migrated_template"


@pytest.fixture(scope="session")
async def owner(postgres_settings: Settings, migrated: Settings) -> AsyncIterator[Store]:
    """The migrated database as its owner."""
    async with open_store(postgres_settings.database("owner"), codec=codec(postgres_settings)) as store:
        yield store


@pytest.fixture(scope="session")
async def store(postgres_settings: Settings, owner: Store) -> AsyncIterator[Store]:
    """The migrated database as the application sees it."""
    async with open_store(postgres_settings.database("app"), codec=codec(postgres_settings)) as opened:
        yield opened


@pytest.fixture(scope="session")
async def valkey(settings: Settings) -> AsyncIterator[str]:
    """Address of a running Valkey."""
    async with running(settings, "valkey"):
        yield settings.redis_target()


@pytest.fixture(scope="session")
async def temporal_address(settings: Settings) -> AsyncIterator[str]:
    """host:port of a running Temporal with our search attributes."""
    async with running(settings, "temporal"):
        yield settings.temporal_target()


@pytest.fixture(scope="session")
async def slm_base(settings: Settings) -> AsyncIterator[str]:
    """Base URL, ending in /v1, of a running llama.cpp."""
    async with running(settings, "slm"):
        yield settings.slm_base()


@pytest.fixture(scope="session")
async def platform() -> AsyncIterator[Platform]:
    """The whole stack, started once, in a home of its own."""
    with temporary_home() as directory:
        async with platform_in(settings_in(directory)) as started:
            yield started
