"""Health of processes that listen nowhere, the relay and the sealer: up when PostgreSQL sees their session."""

import asyncpg

from somagent.embedded.errors import NotYet
from somagent.embedded.part import Health, Launched
from somagent.settings import Settings

# Sessions of our own role are visible to us; the one that asks is left out, and so are those of an earlier process.
SESSIONS = """
SELECT count(*) FROM pg_stat_activity
WHERE usename = current_user AND pid <> pg_backend_pid() AND backend_start >= $1
"""


def has_session(settings: Settings, role: str) -> Health:
    """Healthy when the process's own role holds a session that is younger than the process."""

    async def check(launched: Launched) -> None:
        url = settings.database(role).replace("postgresql+asyncpg://", "postgresql://", 1)
        try:
            connection = await asyncpg.connect(url, timeout=2)
        except (OSError, TimeoutError, asyncpg.PostgresError) as error:
            raise NotYet(f"PostgreSQL does not answer the {role}'s role: {error}") from error
        try:
            if not await connection.fetchval(SESSIONS, launched.since):
                raise NotYet(f"the {role} has no session on PostgreSQL yet")
        finally:
            await connection.close()

    return check
