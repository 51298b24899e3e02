"""What an attacker has: raw clients of the shared stack, without a line of ours between them and the servers."""

from collections.abc import AsyncIterator

import asyncpg
import pytest
from platforms import Platform
from sqlalchemy.engine import make_url
from temporalio.client import Client


@pytest.fixture(scope="session")
async def frontend(platform: Platform) -> Client:
    """Full rights at Temporal's frontend (actor a): no plugin, no codec, no keys."""
    settings = platform.settings
    return await Client.connect(settings.temporal_target(), namespace=settings.temporal_namespace)


@pytest.fixture
async def application(platform: Platform) -> AsyncIterator[asyncpg.Connection]:
    """A connection as the application's database role (actor c). For a superuser (d) see `postgres.superuser`."""
    url = make_url(platform.settings.database("app")).set(drivername="postgresql")
    connection = await asyncpg.connect(url.render_as_string(hide_password=False))
    yield connection
    await connection.close()
