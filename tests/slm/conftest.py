"""A model client on a running llama.cpp."""

from collections.abc import AsyncIterator

import pytest

from somagent.settings import Settings
from somagent.slm.client import PydanticAiModel
from somagent.slm.profiles import Profiles


@pytest.fixture(scope="session")
async def model(settings: Settings, slm_base: str) -> AsyncIterator[PydanticAiModel]:
    async with PydanticAiModel(Profiles.from_settings(settings)) as client:
        yield client
