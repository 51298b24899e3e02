"""A database of a test's own, on the server that the tests share."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from pydantic import SecretStr
from sqlalchemy.engine import make_url

from somagent.local_stack.postgres import superuser
from somagent.settings import Settings

Url = Callable[[str], str]
"""Returns the URL by which a role (`owner`, `app`, …) reaches the database."""


@asynccontextmanager
async def own_database(settings: Settings, name: str, *, template: str | None = None) -> AsyncIterator[Url]:
    """Make a database, and drop it at the end.

    template: the database to copy, to which nobody may be connected (the fixture `template` is a migrated one).
    Without it the new one is empty, as `somagent up` makes it before any migration.
    """
    copied = f"TEMPLATE {template}" if template else ""
    async with superuser(settings) as connection:
        await connection.execute(f"CREATE DATABASE {name} OWNER somagent_owner {copied}")
    if not template:
        async with superuser(settings, database=name) as connection:
            await connection.execute("CREATE EXTENSION vector")
            await connection.execute("ALTER SCHEMA public OWNER TO somagent_owner")

    def url(role: str) -> str:
        return make_url(settings.database(role)).set(database=name).render_as_string(hide_password=False)

    yield url
    async with superuser(settings) as connection:
        await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@asynccontextmanager
async def own_settings(settings: Settings, name: str, *, template: str) -> AsyncIterator[Settings]:
    """Make a database as `own_database` does, and yield settings that lead every role to it."""
    async with own_database(settings, name, template=template) as url:
        urls = {"owner": "database_owner_url", "app": "database_url"}
        urls |= {role: f"database_{role}_url" for role in ("relay", "sealer")}
        yield settings.model_copy(update={setting: SecretStr(url(role)) for role, setting in urls.items()})


def name_of(settings: Settings) -> str:
    """Return the name of the database that the settings lead to."""
    name = make_url(settings.database("app")).database
    assert name is not None
    return name
