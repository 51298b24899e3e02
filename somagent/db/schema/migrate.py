"""Bringing a database up to date, as its owner.

One transaction: a migration that fails leaves nothing behind. A lock makes two starting processes take turns.
"""

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from capsules.errors import Unavailable
from somagent.db.errors import translated

ROLES = ("somagent_app", "somagent_relay", "somagent_sealer")
LOCK = 7_405_113_802  # any number that is ours


async def upgrade(owner_url: str) -> None:
    """Apply every migration that is missing. Raises Unavailable when the roles are."""
    engine = create_async_engine(owner_url, poolclass=NullPool)
    try:
        async with translated(), engine.begin() as connection:
            await connection.run_sync(_upgrade)
    finally:
        await engine.dispose()


def configuration(connection: Connection) -> Config:
    """Return Alembic's configuration, on a connection that the caller opened and commits."""
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
