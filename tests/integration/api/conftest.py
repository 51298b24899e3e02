"""The API on a real socket, over real PostgreSQL, Valkey and Temporal; every test has a tenant of its own."""

import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from itertools import count

import httpx
import pytest
from api_callers import Callers, Registry
from constitutions import activate_document, key_ring
from servers import free_ports, serving_app

from api.app import create_app
from api.deps import State, open_state
from capsules.budgets.amounts import Amounts
from capsules.constitutions.constitution import ConstitutionRecord
from somagent.capsule_files.library import Library
from somagent.db.database import Database, open_database
from somagent.identity.keys import KeyRing
from somagent.settings import Settings

NUMBERS = count(int(time.time()) % 100_000)
RICH = Amounts(tokens=10_000_000, micro_usd=100_000_000, tool_calls=10_000)


@pytest.fixture(scope="session")
async def api_settings(migrated: Settings, valkey: str, temporal_address: str) -> Settings:
    KeyRing.create_missing(migrated.keys_dir)
    return migrated.model_copy(update={"rate_limit_per_minute": 1_000_000, "api_port": free_ports(1)[0]})


@pytest.fixture(scope="session")
async def api_owner(api_settings: Settings) -> AsyncIterator[Database]:
    async with open_database(api_settings.database("owner"), keys=key_ring(api_settings)) as db:
        yield db


@pytest.fixture(scope="session")
async def state(api_settings: Settings, api_owner: Database) -> AsyncIterator[State]:
    async with open_state(api_settings) as opened:
        yield opened


@pytest.fixture(scope="session")
async def base(state: State) -> AsyncIterator[str]:
    """Address of the API, served by uvicorn."""
    async with serving_app(create_app(state), state.settings.api_port) as address:
        yield address


@pytest.fixture(scope="session")
async def http(base: str) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=base, timeout=30) as client:
        yield client


@pytest.fixture
async def tenant(api_owner: Database, state: State) -> str:
    name = f"api-{next(NUMBERS)}"
    await api_owner.tenants.add(name)
    async with state.db.transaction(name) as tx:
        await tx.accounts.ensure(f"tenant:{name}", RICH)
    return name


@pytest.fixture(scope="session")
def registry(api_settings: Settings, state: State) -> Iterator[Registry]:
    with contextlib.closing(Registry(api_settings.database("app"), state.tokens)) as opened:
        yield opened


@pytest.fixture
def callers(registry: Registry, tenant: str) -> Callers:
    return Callers(registry, tenant)


@pytest.fixture
async def strangers(api_owner: Database, callers: Callers) -> Callers:
    """Callers of another tenant."""
    await api_owner.tenants.add(f"{callers.tenant}-b")
    return callers.of(f"{callers.tenant}-b")


@pytest.fixture
async def constitution(state: State, api_owner: Database) -> ConstitutionRecord:
    """The shipped constitution, signed with this stack's key and active."""
    document = Library.load().constitution
    return await activate_document(api_owner, state.keyring, document)
