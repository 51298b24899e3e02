"""Schema upgrade: applies the missing migrations as the database's owner.

All of them run in one transaction, so a migration that fails leaves nothing behind. A lock keeps two processes that
start at the same time from running them twice.
"""

from pathlib import Path

from alembic import command, op
from alembic.config import Config
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from capsules.errors import Unavailable
from somagent.db.errors import translate_errors

ROLES = ("somagent_app", "somagent_relay", "somagent_sealer")
LOCK = 7_405_113_802  # any number that is ours


async def upgrade(owner_url: str) -> None:
    """Apply every missing migration. Raises Unavailable when a role is missing or the database cannot be reached."""
    engine = create_async_engine(owner_url, poolclass=NullPool)
    try:
        async with translate_errors(), engine.begin() as connection:
            await connection.run_sync(_upgrade)
    finally:
        await engine.dispose()


def configuration(connection: Connection) -> Config:
    """Return Alembic's configuration for a connection that the caller opened and commits."""
    config = Config()
    config.set_main_option("script_location", "somagent.db.schema:migrations")
    config.attributes["connection"] = connection
    return config


def _upgrade(connection: Connection) -> None:
    connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
    known = set(connection.scalars(text("SELECT rolname FROM pg_roles")))
    missing = [role for role in ROLES if role not in known]
    if missing:
        raise Unavailable(f"The database has no role {' and no role '.join(missing)}. Create them, then migrate.")
    command.upgrade(configuration(connection), "head")


def run_script(revision: str) -> None:
    """Run the `.sql` file beside a revision's Python file. It is frozen: once released, it is never edited."""
    script = Path(revision).with_suffix(".sql").read_text("utf-8")
    connection = op.get_bind()
    connection.execute(text("SELECT 1"))  # the adapter opens its transaction with the first statement it sees
    raw = connection.connection.dbapi_connection
    if raw is None:
        raise RuntimeError("The migration's connection is closed.")
    raw.run_async(lambda driver: driver.execute(script))  # many statements: the driver cannot prepare them
