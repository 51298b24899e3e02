"""Database access: one SQLAlchemy engine for the repositories, and one asyncpg pool for the functions of the gate."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import asyncpg
from sqlalchemy import event, select, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import InvalidatePoolError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.util import await_only

from capsules.actions.headers import CutOver
from somagent.db.errors import begin, translate_errors
from somagent.db.repositories.constitutions import ConstitutionEncryption, Constitutions
from somagent.db.repositories.principals import Tenants
from somagent.db.schema.tables import codec_cut_over
from somagent.db.transaction import Transaction
from somagent.identity.keys import KEY_PURPOSES, KeyRing
from somagent.identity.tokens import Tokens

CONNECT_SECONDS = 5
COMMAND_SECONDS = 30
SET_TENANT = text("SELECT set_config('somagent.tenant', :tenant, true)")


@dataclass(frozen=True)
class Database:
    """The database under one role: transactions of one tenant, and data of all tenants. `open_database` makes one.

    tokens: verifies the attestations of the decisions that are read.
    """

    engine: AsyncEngine
    pool: "asyncpg.Pool"
    encryption: ConstitutionEncryption
    tokens: Tokens

    @contextlib.asynccontextmanager
    async def transaction(self, tenant: str) -> AsyncIterator[Transaction]:
        """Yield the repositories of one tenant; commit once at the end, roll back on any error."""
        async with begin(self.engine, SET_TENANT, {"tenant": tenant}) as connection:
            yield Transaction(connection, tenant, self.tokens)

    @property
    def constitutions(self) -> Constitutions:
        return Constitutions(self.engine, self.encryption, self.tokens)

    @property
    def tenants(self) -> Tenants:
        return Tenants(self.engine)

    async def read_cut_over(self) -> CutOver:
        """Return when payloads were first bound to their workflow, and which workflows were open then."""
        async with translate_errors(), self.engine.connect() as connection:
            rows = (await connection.execute(select(codec_cut_over.c.workflow, codec_cut_over.c.at))).all()
        return CutOver(frozenset(row.workflow for row in rows), rows[0].at if rows else None)

    async def call(self, query: str, *arguments: Any) -> str:  # noqa: ANN401 - the driver's
        """Return the only value of one statement, a function of the gate. Raises the errors of `somagent.db.errors`."""
        async with translate_errors(), self.pool.acquire() as connection:
            answer: str = await connection.fetchval(query, *arguments)
            return answer

    async def check(self) -> None:
        """Raise Unavailable unless the database answers now."""
        await self.call("SELECT 1")


@contextlib.asynccontextmanager
async def open_database(url: str, *, connections: int = 10, keys: KeyRing | None = None) -> AsyncIterator[Database]:
    """Connect with a `postgresql+asyncpg://` URL and close at the end.

    keys: its codec keys encrypt constitutions, its issuer's keys verify the decisions of people. Without them
    constitutions can be neither written nor read, and no decision counts.
    """
    keys = keys or KeyRing({purpose: {} for purpose in KEY_PURPOSES}, {}, {})
    engine = create_async_engine(
        url,
        pool_size=connections,
        max_overflow=connections,
        connect_args={"timeout": CONNECT_SECONDS, "command_timeout": COMMAND_SECONDS},
    )
    event.listen(engine.sync_engine, "checkout", _discard_closed)
    plain = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    try:
        async with asyncpg.create_pool(
            plain,
            min_size=0,
            max_size=connections,
            timeout=CONNECT_SECONDS,
            command_timeout=COMMAND_SECONDS,
            reset=_skip_reset,
        ) as pool:
            yield Database(engine, pool, ConstitutionEncryption(keys.codec), Tokens(keys))
    finally:
        await engine.dispose()


def _discard_closed(connection: Any, _record: object, _proxy: object) -> None:  # noqa: ANN401 - SQLAlchemy's adapter
    """Replace all idle connections when this one is closed: a restarted server must not cost the next caller an error.

    A ping would cost three round trips. The server's end of a connection waits in the socket until the event loop
    reads it: one turn sees it, one reads it, one closes.
    """
    for _ in range(3):
        await_only(asyncio.sleep(0))
    if connection.driver_connection.is_closed():
        raise InvalidatePoolError


async def _skip_reset(_: "asyncpg.Connection") -> None:
    """Do nothing: a call is one statement and changes no setting, so a reset would be a needless round trip."""
