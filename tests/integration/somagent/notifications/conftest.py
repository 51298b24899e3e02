"""A migrated database of this folder's own, as the relay and the application see it, and a notifier that loses no time.

A relay process sends every tenant's notifications. In the database that the other folders share, those of all tests
before would come first.
"""

import datetime as dt
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from constitutions import key_ring, make_active
from databases import own_settings
from ledger_messages import constitution, next_number
from receivers import Hook

from somagent.db.database import Database, open_database
from somagent.db.gate.ledger import PostgresLedger
from somagent.notifications.notification import Channel
from somagent.notifications.webhook import Webhook
from somagent.settings import SecretReference, Settings
from workers.relay.notifier import Notifier

TYPES = Settings.model_fields["notify_events"].default


@pytest.fixture(scope="session")
async def postgres_settings(postgres_settings: Settings, template: str) -> AsyncIterator[Settings]:
    async with own_settings(postgres_settings, "notification_tests", template=template) as own:
        yield own


@pytest.fixture(scope="session")
async def owner(postgres_settings: Settings) -> AsyncIterator[Database]:
    async with open_database(postgres_settings.database("owner"), keys=key_ring(postgres_settings)) as opened:
        yield opened


@pytest.fixture(scope="session")
async def db(postgres_settings: Settings, owner: Database) -> AsyncIterator[Database]:
    async with open_database(postgres_settings.database("app"), keys=key_ring(postgres_settings)) as opened:
        yield opened


@pytest.fixture(scope="session")
async def outbox(postgres_settings: Settings, owner: Database) -> AsyncIterator[Database]:
    await make_active(owner, constitution(dt.datetime.now(dt.UTC)))
    async with open_database(postgres_settings.database("relay")) as opened:
        yield opened


@pytest.fixture
async def tenant(owner: Database) -> str:
    name = f"notifications-{next_number()}"
    await owner.tenants.add(name)
    return name


@pytest.fixture
def ledger(db: Database) -> PostgresLedger:
    return PostgresLedger(db)


@pytest.fixture
def secret(tmp_path: Path) -> SecretReference:
    file = tmp_path / "secret"
    file.write_text("a secret of many characters\n")
    return SecretReference(f"file:{file}")


@pytest.fixture
def webhook(secret: SecretReference) -> Callable[..., Webhook]:
    """Make a channel to a hook; each has a name of its own, since deliveries are remembered by it."""

    def make(hook: Hook) -> Webhook:
        return Webhook(hook.url, secret, reach="loopback", name=f"hook-{hook.port}-{next_number()}")

    return make


@pytest.fixture
def notifier(outbox: Database, db: Database) -> Callable[..., Notifier]:
    def make(channel: Channel, types: Sequence[str] = TYPES, **changes: Any) -> Notifier:
        given = {"api": "http://127.0.0.1:8080", "first_wait": dt.timedelta(milliseconds=50)}
        return Notifier(channel, outbox, db, types=types, **(given | changes))

    return make
