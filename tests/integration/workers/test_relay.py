"""From the outbox to the bus: every event, in order, whatever dies on the way."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from pathlib import Path

import pytest
from servers import running, settings_in, temporary_home
from sources import ROOT
from sqlalchemy import text

from somagent.db.database import Database
from somagent.identity.keys import KeyRing
from somagent.local_stack.supervisor import Supervisor
from somagent.messaging.event_bus import START, EventBus
from somagent.settings import Settings

EVENTS = 300
PATIENCE = 120
"""Seconds that a busy machine may take for what takes a few: a relay starts, or another one takes over."""


@pytest.fixture
async def own_valkey() -> AsyncIterator[tuple[Settings, Supervisor]]:
    """A Valkey that a test may kill; the supervisor brings it back."""
    with temporary_home() as home:
        settings = settings_in(home)
        async with running(settings, "valkey") as supervisor:
            yield settings, supervisor


@asynccontextmanager
async def relaying(
    postgres: Settings, valkey: Settings, log_file: str = "relay.log"
) -> AsyncIterator[asyncio.subprocess.Process]:
    """The real process, on the session's PostgreSQL and the given Valkey; Temporal is not there."""
    KeyRing.create_missing(postgres.keys_dir)
    environment = os.environ | {
        "SOMAGENT_HOME": str(postgres.home),
        "SOMAGENT_POSTGRES_PORT": str(postgres.postgres_port),
        "SOMAGENT_REDIS_URL": valkey.redis_target(),
        "SOMAGENT_TEMPORAL_ADDRESS": "127.0.0.1:1",
    }
    with (valkey.home / log_file).open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "workers.relay", cwd=ROOT, env=environment, stdout=log, stderr=log
        )
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                process.terminate()
            await asyncio.wait_for(process.wait(), 20)


async def write(db: Database, tenant: str, run: str, count: int) -> list[int]:
    ids = []
    for n in range(count):
        async with db.transaction(tenant) as tx:
            ids.append((await tx.events.add("agent.events", "run.changed", run, {"n": n})).id)
    return ids


async def wait_until_drained(outbox: Database) -> None:
    async with asyncio.timeout(PATIENCE), outbox.engine.connect() as connection:
        while await connection.scalar(text("SELECT count(*) FROM outbox WHERE published_at IS NULL")):
            await connection.rollback()
            await asyncio.sleep(0.1)


async def wait_until_logged(file: Path, event: str) -> None:
    async with asyncio.timeout(PATIENCE):
        while f'"event": "{event}"' not in file.read_text():  # noqa: ASYNC110 - another process writes it
            await asyncio.sleep(0.05)


async def received(bus: EventBus, tenant: str, run: str, last: int) -> list[int]:
    """Return the ids of the run's events on the bus, up to the first `last`."""
    ids: list[int] = []
    async with asyncio.timeout(PATIENCE), aclosing(bus.tail(tenant, run, START)) as tail:
        async for _, kind, document in tail:
            if kind == "event":
                ids.append(document["id"])
                if ids[-1] == last:
                    break
    return ids


async def test_every_event_of_a_run_arrives_in_order(  # noqa: PLR0917 - fixtures
    postgres_settings: Settings, own_valkey, outbox: Database, db: Database, tenant: str, run: str
):
    settings, _ = own_valkey
    async with relaying(postgres_settings, settings), EventBus(settings.redis_target()) as bus:
        ids = await write(db, tenant, run, EVENTS)
        assert (await received(bus, tenant, run, ids[-1]))[1:] == ids  # the first is run.started
        await wait_until_drained(outbox)


async def test_after_valkey_is_killed_every_later_event_arrives_in_order(  # noqa: PLR0917 - fixtures
    postgres_settings: Settings, own_valkey, outbox: Database, db: Database, tenant: str, run: str
):
    settings, supervisor = own_valkey
    async with relaying(postgres_settings, settings) as process, EventBus(settings.redis_target()) as bus:
        first = await write(db, tenant, run, 20)
        await received(bus, tenant, run, first[-1])
        # Frozen first, so that events certainly wait while it is dead.
        valkey = supervisor.runners["valkey"].state.process.pid
        os.kill(valkey, signal.SIGSTOP)
        waiting = await write(db, tenant, run, 40)
        os.kill(valkey, signal.SIGKILL)
        later = await write(db, tenant, run, 40)
        await wait_until_drained(outbox)
        seen = await received(bus, tenant, run, later[-1])
        assert process.returncode is None
    in_order = list(dict.fromkeys(seen))
    assert in_order == sorted(in_order)
    # What was published before the kill died with Valkey, and may: the outbox has it. The rest is there.
    assert set(later) <= set(seen)
    assert len(set(waiting) - set(seen)) == 0


async def test_a_relay_that_is_killed_loses_nothing(  # noqa: PLR0917 - fixtures
    postgres_settings: Settings, own_valkey, outbox: Database, db: Database, tenant: str, run: str
):
    settings, _ = own_valkey
    async with EventBus(settings.redis_target()) as bus:
        async with relaying(postgres_settings, settings) as process:
            writing = asyncio.create_task(write(db, tenant, run, EVENTS))
            await asyncio.sleep(2)
            process.kill()
            ids = await writing
        async with relaying(postgres_settings, settings):
            await wait_until_drained(outbox)
        seen = await received(bus, tenant, run, ids[-1])
    first_seen = list(dict.fromkeys(seen))[1:]
    assert first_seen == ids


async def test_a_second_relay_stands_by_and_takes_over(  # noqa: PLR0917 - fixtures
    postgres_settings: Settings, own_valkey, outbox: Database, db: Database, tenant: str, run: str
):
    settings, _ = own_valkey
    standby = settings.home / "standby.log"
    async with EventBus(settings.redis_target()) as bus, relaying(postgres_settings, settings) as leader:
        await wait_until_logged(settings.home / "relay.log", "relay.leading")
        async with relaying(postgres_settings, settings, standby.name):
            await wait_until_logged(standby, "relay.interrupted")  # it is at work, and misses Temporal
            ids = await write(db, tenant, run, 20)
            assert (await received(bus, tenant, run, ids[-1]))[1:] == ids, "both at once would have sent twice"
            assert "relay.leading" not in standby.read_text()
            leader.kill()
            more = await write(db, tenant, run, 20)
            seen = await received(bus, tenant, run, more[-1])
            assert list(dict.fromkeys(seen))[1:] == ids + more
            await wait_until_logged(standby, "relay.leading")
            await wait_until_drained(outbox)
