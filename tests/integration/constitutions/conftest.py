"""A stack of its own: what these tests activate, others would run under. Docker is there; a model server is not."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

import httpx
import pytest
from api_callers import SignedIn
from constitution_changes import ConstitutionChanges, unique_name
from constitutions import key_ring
from platforms import Platform, platform_in
from servers import settings_in, temporary_home

from capsules.budgets.amounts import Amounts
from somagent.db.database import Database, open_database
from somagent.identity.capabilities import local_principals
from somagent.identity.keys import KeyRing
from somagent.identity.tokens import Tokens


@pytest.fixture(scope="session")
async def new_stack() -> AsyncIterator[Platform]:
    """A new installation after its first start. Tests ask for `stack`."""
    with temporary_home() as home:
        settings = settings_in(home)
        settings = settings.model_copy(update={"slm_url": f"http://{settings.host}:{settings.slm_port}/v1"})
        # Our own API has no constitution endpoints of SomaBrain's: a real server that does not offer them.
        settings = settings.model_copy(update={"somabrain_url": settings.api_base()})
        async with platform_in(settings) as started:
            yield started


@pytest.fixture(scope="session")
async def first_active(new_stack: Platform) -> str:
    """Digest of the constitution that was active after the first start, before any test changed it."""
    return str((await new_stack.operator.get("/v1/constitution")).json()["digest"])


@pytest.fixture(scope="session")
def stack(new_stack: Platform, first_active: str) -> Platform:
    """The stack, once `first_active` is known."""
    return new_stack


@pytest.fixture(scope="session")
async def stack_owner(stack: Platform) -> AsyncIterator[Database]:
    async with open_database(stack.settings.database("owner"), keys=key_ring(stack.settings)) as db:
        yield db


@pytest.fixture
async def changes(stack: Platform) -> ConstitutionChanges:
    """Proposals by the operator, answers by the approver."""
    return ConstitutionChanges(stack, KeyRing.load(stack.settings.keys_dir))


@pytest.fixture
def tokens(stack: Platform) -> Tokens:
    return Tokens(KeyRing.load(stack.settings.keys_dir))


@dataclass(frozen=True)
class Tenant:
    """A tenant of the stack with its own operator and approver."""

    name: str
    changes: ConstitutionChanges

    @property
    def stack(self) -> Platform:
        return self.changes.stack


@pytest.fixture
async def tenant(stack: Platform, stack_owner: Database, tokens: Tokens) -> AsyncIterator[Tenant]:
    name = unique_name("acme")
    await stack_owner.tenants.add(name)
    async with open_database(stack.settings.database("app")) as db:
        async with db.transaction(name) as tx:
            await tx.accounts.ensure(f"tenant:{name}", Amounts(tokens=10**6, micro_usd=10**6, tool_calls=1000))
        operator, approver = [await SignedIn.open(db, tokens, principal) for principal in local_principals(name)]

    def client(auth: SignedIn) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=stack.settings.api_base(), auth=auth, timeout=60)

    async with client(operator) as one, client(approver) as other:
        own = Platform(stack.settings, stack.supervisor, one, other)
        yield Tenant(name, ConstitutionChanges(own, KeyRing.load(stack.settings.keys_dir)))
