"""Migrations: from empty to head in one transaction, always to the same schema, and never back over data."""

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from alembic import command
from alembic.script import ScriptDirectory
from database_schema import dump_schema
from databases import Url, name_of, own_database
from ledger_messages import next_number
from sqlalchemy import Connection, TableClause
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from capsules.errors import Unavailable
from somagent.db.database import open_database
from somagent.db.schema import migrate, tables
from somagent.db.schema.migrate import configuration, upgrade
from somagent.local_stack.postgres import superuser
from somagent.settings import Settings

STORE = Path(migrate.__file__).parent
VERSIONS = STORE / "migrations" / "versions"
SCRIPTS = ScriptDirectory(str(STORE / "migrations"))
REVISIONS = [script.revision for script in reversed(list(SCRIPTS.walk_revisions()))]

FROZEN = {
    "0001_first.sql": "cafe127f34c6caa6970d968510e2fbf194c67ae871474e328cfe647fad3dba7d",
    "0002_starts.sql": "a3b4fd03992e6f0e5b048286e00ffedf7431b4068f6831f35725a733dde8229b",
    "0003_codec_cut_over.sql": "803528329e4c5f9d3a213cb7c5b6e7df208b20e68de8de6b3e7c051bd1433193",
    "0004_sealed_ledger.sql": "7d25aa0360545c960c303a2cace806ee327787d6e877ed4810761dcbcf357634",
    "0005_attestations.sql": "03952f5c1db5d1a766dea452460fc9f76bde003517e603e47eb604eab6e7fc82",
    "0006_identity.sql": "5dc87eba34ad41032d37dd74de9b868cc8422be29ee3b34bba01a294c0636c5e",
}
"""The SHA-256 of each revision's SQL. One that was released never changes again: what it did is done."""

CURRENT = (
    "tables.sql",
    "attestation_tables.sql",
    "constitutions.sql",
    "audit_tables.sql",
    "forecasts.sql",
    "retention_tables.sql",
    "security.sql",
    "audit_blocks.sql",
    "receipts.sql",
    "attestations.sql",
    "constitution_functions.sql",
    "accounts.sql",
    "periods.sql",
    "wall_clock.sql",
    "ledger_invariants.sql",
    "standing_grants.sql",
    "approvals.sql",
    "gate_history.sql",
    "gate_begin.sql",
    "gate_finish.sql",
    "run_close.sql",
    "audit_triggers.sql",
    "identity.sql",
    "retention.sql",
    "ledger_seal.sql",
    "runs.sql",
    "privileges.sql",
    "planner_statistics.sql",
    "starts.sql",
    "codec_cut_over.sql",
)
"""The files of `sql/`, in an order in which an empty database takes them."""

CHANGES = (
    "ALTER TABLE runs ADD COLUMN more text",
    "ALTER TABLE runs ALTER COLUMN step TYPE bigint",
    "ALTER TABLE runs ALTER COLUMN step SET DEFAULT 1",
    "ALTER TABLE runs ALTER COLUMN capsule DROP NOT NULL",
    "ALTER TABLE runs ALTER COLUMN capsule SET STATISTICS 10",
    "ALTER TABLE runs ADD CONSTRAINT late CHECK (step >= 0) NOT VALID",
    "ALTER TABLE runs SET (fillfactor = 90)",
    "ALTER TABLE runs NO FORCE ROW LEVEL SECURITY",
    "ALTER TABLE runs OWNER TO somagent_app",
    "DROP POLICY relay_reads ON runs",
    "ALTER POLICY one_tenant ON runs USING (true)",
    "DROP INDEX runs_open",
    "CREATE STATISTICS extra ON status, capsule FROM runs",
    "ALTER TABLE receipts DISABLE TRIGGER immutable",
    "DROP TRIGGER kept ON delegations",
    "CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$",
    "ALTER FUNCTION refuse_change() SECURITY DEFINER",
    "GRANT DELETE ON receipts TO somagent_app",
    "GRANT UPDATE (reason) ON delegations TO somagent_app",
    "GRANT EXECUTE ON FUNCTION retention_prune TO somagent_app",
    "ALTER SEQUENCE outbox_id_seq INCREMENT 2",
    "ALTER TYPE amounts ADD ATTRIBUTE more bigint",
    "ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO somagent_app",
    "ALTER DATABASE {name} SET jit = on",
)
"""One of each kind of change that a comparison of schemas must notice."""


@pytest.fixture
async def own(postgres_settings: Settings) -> AsyncIterator[Url]:
    """An empty database of its own."""
    async with own_database(postgres_settings, f"empty_{next_number()}") as url:
        yield url


@pytest.fixture
def empty(own: Url) -> str:
    """The owner's URL of an empty database of its own."""
    return own("owner")


@pytest.fixture(scope="module")
async def current(postgres_settings: Settings) -> AsyncIterator[str]:
    """The schema that `sql/` describes, made at once."""
    name = f"current_{next_number()}"
    async with own_database(postgres_settings, name):
        async with superuser(postgres_settings, database=name) as connection:
            await connection.execute("SET SESSION AUTHORIZATION somagent_owner")
            for file in CURRENT:
                await connection.execute((STORE / "sql" / file).read_text("utf-8"))
        yield await dump_schema(postgres_settings, name)


async def upgrade_to(owner_url: str, revision: str) -> None:
    def run(connection: Connection) -> None:
        command.upgrade(configuration(connection), revision)

    engine = create_async_engine(owner_url, poolclass=NullPool)
    async with engine.begin() as connection:
        await connection.run_sync(run)
    await engine.dispose()


def test_the_sql_of_a_released_revision_is_never_edited():
    found = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in VERSIONS.glob("*.sql")}
    assert found == FROZEN, "add a revision instead (docs/extending.md)"


def test_each_revision_has_sql_of_its_own():
    python = sorted(file.stem for file in VERSIONS.glob("*.py"))
    assert python == sorted(file.stem for file in VERSIONS.glob("*.sql"))
    assert len(python) == len(REVISIONS)
    assert len(SCRIPTS.get_heads()) == 1
    outside = [name for name in python if "run_script(__file__)" not in (VERSIONS / f"{name}.py").read_text("utf-8")]
    assert outside == []


def test_every_file_of_the_current_schema_is_read():
    assert sorted(file.name for file in (STORE / "sql").glob("*.sql")) == sorted(CURRENT)


@pytest.mark.parametrize("revision", REVISIONS)
async def test_an_upgrade_from_any_revision_gives_the_current_schema(
    own: Url, revision: str, current: str, postgres_settings: Settings
):
    await upgrade_to(own("owner"), revision)
    await upgrade(own("owner"))
    name = make_url(own("owner")).database
    assert await dump_schema(postgres_settings, str(name)) == current


async def test_the_comparison_sees_every_kind_of_change(postgres_settings: Settings, template: str):
    name = f"changed_{next_number()}"
    async with own_database(postgres_settings, name, template=template):
        before = await dump_schema(postgres_settings, name)
        for change in CHANGES:
            async with superuser(postgres_settings, database=name) as connection:
                await connection.execute(change.format(name=name))
            after = await dump_schema(postgres_settings, name)
            assert after != before, change
            before = after


async def test_an_empty_database_is_brought_up_and_doing_it_again_changes_nothing(empty):
    await upgrade(empty)
    await upgrade(empty)
    async with open_database(empty) as db:
        await db.tenants.add("first")
        assert await db.tenants.list() == ("first",)


async def test_every_table_and_column_that_queries_name_is_in_the_database_with_that_type(migrated: Settings):
    async with superuser(migrated, database=name_of(migrated)) as connection:
        rows = await connection.fetch(
            "SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod) AS type "
            "FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid "
            "WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND a.attnum > 0 AND NOT a.attisdropped"
        )
    there = {(row["relname"], row["attname"], row["type"]) for row in rows}
    named = {
        (table.name, column.name, column.type.compile(postgresql.dialect()).lower())
        for table in vars(tables).values()
        if isinstance(table, TableClause)
        for column in table.c
    }
    assert len(named) > 200
    assert named - there == set()


async def test_a_downgrade_is_refused_and_leaves_everything(empty):
    await upgrade(empty)
    engine = create_async_engine(empty, poolclass=NullPool)
    with pytest.raises(NotImplementedError, match="Restore a backup"):
        async with engine.begin() as connection:
            await connection.run_sync(lambda sync: command.downgrade(configuration(sync), "base"))
    await engine.dispose()
    async with open_database(empty) as db:
        assert await db.tenants.list() == ()


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
        async with open_database("postgresql+asyncpg://somagent_app@127.0.0.1:1/none") as db:
            await db.check()
