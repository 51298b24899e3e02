"""Connections that the server closed: the next caller gets a new one, and not an error."""

import asyncio

from databases import name_of

from somagent.db.database import open_database
from somagent.local_stack.postgres import superuser
from somagent.settings import Settings


async def test_connections_that_the_server_closed_are_replaced_before_a_caller_meets_them(
    postgres_settings: Settings, tenant: str
):
    async with open_database(postgres_settings.database("app"), connections=5) as db:

        async def read() -> None:
            async with db.transaction(tenant) as tx:
                await tx.runs.list()

        for wait in (0, 0, 0.001, 0.2):  # before and after the loop could read that they are closed
            await asyncio.gather(*(read() for _ in range(5)))
            async with superuser(postgres_settings) as connection:
                closed = await connection.fetchval(
                    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = $1 AND usename = $2",
                    name_of(postgres_settings),
                    "somagent_app",
                )
            assert closed >= 5
            await asyncio.sleep(wait)
            await asyncio.gather(*(read() for _ in range(5)))


async def test_a_transaction_sends_no_ping(postgres_settings: Settings, tenant: str):
    async with open_database(postgres_settings.database("app"), connections=1) as db:

        async def read() -> None:
            async with db.transaction(tenant) as tx:
                await tx.runs.list()

        await read()
        async with db.engine.connect() as connection:
            driver = (await connection.get_raw_connection()).driver_connection
        sent: list[str] = []
        driver.add_query_logger(lambda record: sent.append(record.query))
        await read()
    assert sent == ["BEGIN;", "COMMIT;"], "prepared statements are not reported; a ping is"
