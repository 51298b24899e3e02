"""A model client on a running llama.cpp."""

from collections.abc import AsyncIterator

import pytest

from somagent.models.client import PydanticAiModel
from somagent.models.profiles import Profiles
from somagent.settings import Settings


@pytest.fixture(scope="session")
async def model(settings: Settings, slm_base: str) -> AsyncIterator[PydanticAiModel]:
    async with PydanticAiModel(Profiles.from_settings(settings)) as client:
        yield client
