"""The fault tests run on the stack that may be broken."""

import pytest
from platforms import Platform
from temporalio.client import Client

from somagent.identity.keys import KeyRing
from somagent.temporal.client import connect


@pytest.fixture(scope="session")
def stack(fault_stack: Platform) -> Platform:
    return fault_stack


@pytest.fixture(scope="session")
async def temporal(stack: Platform) -> Client:
    """A client that reads what the workers of the stack wrote."""
    return await connect(stack.settings, KeyRing.load(stack.settings.keys_dir))
