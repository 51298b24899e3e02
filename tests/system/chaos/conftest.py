"""The chaos tests run on the stack that may be broken."""

import pytest
from platforms import Platform


@pytest.fixture(scope="session")
def stack(fault_stack: Platform) -> Platform:
    return fault_stack
