"""The stack of the chaos tests, apart from the session's: whoever shares one with them would suffer."""

from collections.abc import AsyncIterator

import pytest
from platforms import Platform, platform_in
from servers import settings_in, temporary_home

from somagent.local_stack.leftovers import remove_containers


@pytest.fixture(scope="session")
async def stack() -> AsyncIterator[Platform]:
    with temporary_home() as home:
        settings = settings_in(home)
        async with platform_in(settings) as started:
            yield started
        # A worker that is killed after it recorded an outcome leaves its container to the reaper, a day later.
        remove_containers(settings.container_scope, host=settings.docker_host)
