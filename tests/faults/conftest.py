"""The stack of the fault tests, apart from the session's: what they take away, others would miss."""

from collections.abc import AsyncIterator

import pytest
from outages import link_engine
from platforms import Platform, platform_in
from servers import settings_in, temporary_home
from temporalio.client import Client

from somagent.identity.keys import KeyRing
from somagent.temporal.client import connect


@pytest.fixture(scope="session")
async def stack() -> AsyncIterator[Platform]:
    """Docker is there; the model server is not, until a test starts one."""
    with temporary_home() as home:
        settings = settings_in(home, docker_host=f"unix://{home}/engine.sock")
        settings = settings.model_copy(update={"slm_url": f"http://{settings.host}:{settings.slm_port}/v1"})
        link_engine(settings)
        async with platform_in(settings) as started:
            yield started


@pytest.fixture(scope="session")
async def temporal(stack: Platform) -> Client:
    """A client that reads what the workers of the stack wrote."""
    return await connect(stack.settings, KeyRing.load(stack.settings.keys_dir))
