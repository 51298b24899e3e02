"""Migrations: from empty to head in one transaction, the same as the models, and never back over data."""

from collections.abc import AsyncIterator

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from databases import own_database
from entries import number
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from capsules.errors import Unavailable
from somagent.embedded.postgres import superuser
from somagent.settings import Settings
from somagent.store.database import open_store
from somagent.store.migrate import configuration, upgrade
from somagent.store.tables import metadata


@pytest.fixture
async def empty(postgres_settings: Settings) -> AsyncIterator[str]:
    """The owner's URL of an empty database of its own."""
    async with own_database(postgres_settings, f"empty_{number()}") as url:
        yield url("owner")


async def test_an_empty_database_is_brought_up_and_doing_it_again_changes_nothing(empty):
    await upgrade(empty)
    await upgrade(empty)
    async with open_store(empty) as store:
        await store.tenants.add("first")
        assert await store.tenants.list() == ("first",)


async def test_models_and_migrations_agree(empty):
    await upgrade(empty)
    engine = create_async_engine(empty, poolclass=NullPool)
    async with engine.connect() as connection:
        differences = await connection.run_sync(
            lambda sync: compare_metadata(
                MigrationContext.configure(sync, opts={"compare_server_default": True, "compare_type": True}), metadata
            )
        )
    await engine.dispose()
    assert differences == []


async def test_a_downgrade_is_refused_and_leaves_everything(empty):
    await upgrade(empty)
    engine = create_async_engine(empty, poolclass=NullPool)
    with pytest.raises(NotImplementedError, match="Restore a backup"):
        async with engine.begin() as connection:
            await connection.run_sync(lambda sync: command.downgrade(configuration(sync), "base"))
    await engine.dispose()
    async with open_store(empty) as store:
        assert await store.tenants.list() == ()


async def test_a_migration_that_fails_leaves_nothing_behind(empty, postgres_settings):
    name = make_url(empty).database
    async with superuser(postgres_settings, database=name) as connection:
        await connection.execute("CREATE TABLE memories (squatter int)")
    with pytest.raises(Exception, match="memories"):
        await upgrade(empty)
    async with superuser(postgres_settings, database=name) as connection:
        tables = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    assert [row["tablename"] for row in tables] == ["memories"]


async def test_a_server_that_is_not_there_is_unavailable():
    with pytest.raises(Unavailable, match="cannot be used now"):
        await upgrade("postgresql+asyncpg://somagent_owner@127.0.0.1:1/none")
    with pytest.raises(Unavailable):
        async with open_store("postgresql+asyncpg://somagent_app@127.0.0.1:1/none") as store:
            await store.check()
