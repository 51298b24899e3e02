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

        await asyncio.gather(*(read() for _ in range(5)))
        async with superuser(postgres_settings) as connection:
            closed = await connection.fetchval(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = $1",
                name_of(postgres_settings),
            )
        assert closed >= 5
        await asyncio.sleep(0.2)  # until the loop has read that they are closed
        await asyncio.gather(*(read() for _ in range(5)))
