"""The schema of a database as text, so that two databases can be compared."""

import asyncio

from somagent.local_stack.postgres import SUPERUSER, socket_directory
from somagent.local_stack.wheels import postgres_programs
from somagent.settings import Settings

# `--create` adds the settings of the database; without a fixed key each dump holds a random one.
OPTIONS = ("--schema-only", "--create", "--restrict-key=compared", "--exclude-table=alembic_version")


async def dump_schema(settings: Settings, database: str) -> str:
    """Return the schema as `pg_dump` writes it, without the database's name.

    It holds types, tables with their columns in order, defaults, constraints, indexes, statistics objects, sequences,
    functions with their source, triggers, policies, owners, grants and settings.
    """
    process = await asyncio.create_subprocess_exec(
        str(postgres_programs() / "pg_dump"),
        *OPTIONS,
        f"--host={socket_directory(settings)}",
        f"--port={settings.postgres_port}",
        f"--username={SUPERUSER}",
        database,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    return out.decode().replace(database, "compared")
