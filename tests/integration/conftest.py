"""A migrated PostgreSQL and a Valkey, each as the relay and the application see them, and the sandbox image."""

import itertools
import sys
from collections.abc import AsyncIterator

import pytest

from capsules.digest import digest
from capsules.runs.run import NewRun
from sandbox.image import IMAGE, Builder
from somagent.db.database import Database, open_database
from somagent.messaging.event_bus import EventBus
from somagent.settings import Settings

numbers = itertools.count(1)


@pytest.fixture(scope="session")
async def outbox(migrated: Settings) -> AsyncIterator[Database]:
    async with open_database(migrated.database("relay")) as opened:
        yield opened


@pytest.fixture(scope="session")
def image() -> str:
    """The sandbox image, built when the engine has none."""
    builder = Builder(image=IMAGE)
    if not builder.present():
        builder.build(lambda text, _: print(text, file=sys.stderr))
    return IMAGE


@pytest.fixture
async def bus(valkey: str) -> AsyncIterator[EventBus]:
    async with EventBus(valkey) as opened:
        yield opened


@pytest.fixture
async def tenant(owner: Database) -> str:
    name = f"bus-{next(numbers)}"
    await owner.tenants.add(name)
    return name


@pytest.fixture
async def run(db: Database, tenant: str) -> str:
    """Id of an accepted run; its event `run.started` is in the outbox."""
    new = NewRun(
        id=f"{tenant}/word-count/1",
        capsule="word-count@1.0.0",
        digest=digest({}),
        actor="ada",
        request=digest({}),
    )
    async with db.transaction(tenant) as tx:
        await tx.runs.accept(new)
    return new.id
