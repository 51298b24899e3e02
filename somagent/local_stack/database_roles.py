"""Roles of the database: their rights and their generated passwords.

`somagent_owner` owns the database and its tables and runs migrations; `somagent_app` serves requests under row-level
security; `somagent_relay` reads the outbox; `somagent_sealer` closes audit blocks. None is a superuser, and row-level
security applies to all of them.
"""

import os
import secrets

import asyncpg

from somagent.settings import Settings

DATABASE = "somagent"
ROLES = ("owner", "app", "relay", "sealer")
LIMITS = "LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS"


def make_passwords(settings: Settings) -> None:
    """Write a password file for each role that has none."""
    settings.keys_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    settings.keys_dir.chmod(0o700)
    for role in ROLES:
        path = settings.keys_dir / f"postgres-{role}.password"
        if not path.exists():
            # Created with mode 0600 and renamed into place, so nobody reads a part of it.
            unfinished = path.with_suffix(".unfinished")
            unfinished.unlink(missing_ok=True)
            descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w") as file:
                file.write(secrets.token_urlsafe(32))
            unfinished.rename(path)


async def grant_server(connection: "asyncpg.Connection", settings: Settings) -> None:
    """Create the roles and the database if missing, and set the roles' passwords to those of the keys directory."""
    for role in ROLES:
        password = (settings.keys_dir / f"postgres-{role}.password").read_text().strip()
        await _set_role(connection, f"somagent_{role}", password)
    if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", DATABASE):
        await connection.execute(f"CREATE DATABASE {DATABASE} OWNER somagent_owner")
    await connection.execute(f"REVOKE ALL ON DATABASE {DATABASE} FROM PUBLIC")
    await connection.execute(f"GRANT CONNECT ON DATABASE {DATABASE} TO somagent_app, somagent_relay, somagent_sealer")


async def grant_database(connection: "asyncpg.Connection") -> None:
    """Create the extension, which needs a superuser, and give the schema to the owner's role."""
    await connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
    await connection.execute("REVOKE ALL ON SCHEMA public FROM PUBLIC")
    await connection.execute("ALTER SCHEMA public OWNER TO somagent_owner")
    await connection.execute("GRANT USAGE ON SCHEMA public TO somagent_app, somagent_relay, somagent_sealer")


async def _set_role(connection: "asyncpg.Connection", name: str, password: str) -> None:
    known = await connection.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", name)
    verb = "ALTER" if known else "CREATE"
    # Passwords are URL-safe Base64, which has no quotes.
    await connection.execute(f"{verb} ROLE {name} {LIMITS} PASSWORD '{password}'")
