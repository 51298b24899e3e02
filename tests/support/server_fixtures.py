"""Real servers for the whole session, each started when the first test asks for it.

No mocks: PostgreSQL, Valkey, Temporal and llama.cpp as the product starts them, on free ports in a temporary home.
"""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from constitutions import key_ring
from databases import own_database
from outages import link_engine
from platforms import Platform, platform_in
from pydantic import SecretStr
from receivers import WEBHOOK_SECRET, Hook, Mailbox, new_hook, new_mailbox, receiving, serving
from servers import running, settings_in, temporary_home

from somagent.db.database import Database, open_database
from somagent.db.schema.migrate import upgrade
from somagent.local_stack.control import remove_containers
from somagent.memory.embedder import MiniLmEmbedder
from somagent.settings import Settings


@pytest.fixture(scope="session")
def home() -> Iterator[Path]:
    """A home for the session's stack."""
    with temporary_home() as directory:
        yield directory


@pytest.fixture(scope="session")
def settings(home: Path) -> Settings:
    """Settings of the session's stack. Starts nothing: ask for the servers that a test needs."""
    return settings_in(home)


@pytest.fixture(scope="session")
async def postgres_server(settings: Settings) -> AsyncIterator[Settings]:
    """The settings, with PostgreSQL running, its roles made and its database empty of tables.

    No folder may override this one: fixtures of the session are made once, with what their first user sees.
    """
    async with running(settings, "postgres"):
        yield settings


@pytest.fixture(scope="session")
def postgres_settings(postgres_server: Settings) -> Settings:
    """Settings that lead to the database of the tests. A folder with a database of its own overrides this one."""
    return postgres_server


@pytest.fixture(scope="session")
async def migrated(postgres_server: Settings) -> Settings:
    """The settings, with the shared database migrated."""
    await upgrade(postgres_server.database("owner"))
    return postgres_server


@pytest.fixture(scope="session")
async def template(postgres_server: Settings) -> AsyncIterator[str]:
    """Name of a migrated database without rows. Copying it takes a fraction of migrating a new one."""
    async with own_database(postgres_server, "migrated_template") as url:
        await upgrade(url("owner"))
        yield "migrated_template"


@pytest.fixture(scope="session")
async def owner(migrated: Settings) -> AsyncIterator[Database]:
    """The shared database as its owner."""
    async with open_database(migrated.database("owner"), keys=key_ring(migrated)) as opened:
        yield opened


@pytest.fixture(scope="session")
async def db(migrated: Settings) -> AsyncIterator[Database]:
    """The shared database as the application sees it."""
    async with open_database(migrated.database("app"), keys=key_ring(migrated)) as opened:
        yield opened


@pytest.fixture(scope="session")
async def valkey(settings: Settings) -> AsyncIterator[str]:
    """Address of a running Valkey."""
    async with running(settings, "valkey"):
        yield settings.redis_target()


@pytest.fixture(scope="session")
async def temporal_address(settings: Settings) -> AsyncIterator[str]:
    """host:port of a running Temporal with our search attributes."""
    async with running(settings, "temporal"):
        yield settings.temporal_target()


@pytest.fixture(scope="session")
async def slm_base(settings: Settings) -> AsyncIterator[str]:
    """Base URL, ending in /v1, of a running llama.cpp."""
    async with running(settings, "slm"):
        yield settings.slm_base()


@pytest.fixture(scope="session")
def embedder() -> MiniLmEmbedder:
    """The real embedding model, in this process."""
    return MiniLmEmbedder()


@pytest.fixture(scope="session")
def hook() -> Iterator[Hook]:
    """The webhook that the platform notifies."""
    with serving(new_hook()) as started:
        yield started


@pytest.fixture(scope="session")
def mailbox() -> Iterator[Mailbox]:
    """The mail server that the platform notifies by."""
    with receiving(new_mailbox()) as started:
        yield started


@pytest.fixture(scope="session")
async def platform(hook: Hook, mailbox: Mailbox) -> AsyncIterator[Platform]:
    """The whole stack, with traces and both channels of notifications, for tests that leave it as it was."""
    with temporary_home() as directory:
        secret = directory / "secret"
        secret.write_text(WEBHOOK_SECRET)
        extras = {
            "trace_dir": directory / "traces",
            "notify_webhook_url": SecretStr(hook.url),
            "notify_webhook_secret": f"file:{secret}",
            "notify_reach": "loopback",
            "notify_mail_to": ("ops@acme.example",),
            "notify_mail_from": "soma@acme.example",
            "notify_smtp_port": mailbox.port,
            "notify_smtp_tls": "none",
        }
        async with platform_in(settings_in(directory, **extras)) as started:
            yield started


@pytest.fixture(scope="session")
async def fault_stack() -> AsyncIterator[Platform]:
    """The whole stack for tests that kill, take away or break parts of it, and put everything back.

    Docker is reached by a link that can be taken away. There is no model server until a test starts one. Workflows
    continue as new early, so that faults also meet them there.
    """
    with temporary_home() as home:
        settings = settings_in(
            home,
            docker_host=f"unix://{home}/engine.sock",
            temporal_dynamic_config=("limit.historyCount.suggestContinueAsNew=60",),
        )
        settings = settings.model_copy(update={"slm_url": f"http://{settings.host}:{settings.slm_port}/v1"})
        link_engine(settings)
        async with platform_in(settings) as started:
            yield started
        # A worker that is killed after it recorded an outcome leaves its container to the reaper, a day later.
        remove_containers(settings.container_scope, host=settings.docker_host)
