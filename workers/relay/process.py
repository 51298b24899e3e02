"""The relay process: `python -m workers.relay`. Carries the outbox, closes ended runs, notifies people, prunes.

At least once: events are published before they are marked, so a crash between both publishes again, with the same id.
One relay works at a time, held by a lock in PostgreSQL, so that the events of a run arrive in order; others stand by.
"""

import asyncio
import logging
import signal
import sys
from collections.abc import Awaitable, Callable

import structlog
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from capsules.errors import SomaError
from somagent.db.database import Store, open_store
from somagent.db.errors import translated
from somagent.db.gate.ledger import PostgresLedger
from somagent.db.gate.run_projection import PostgresRuns
from somagent.db.repositories.outbox import next_batch
from somagent.identity.keys import KeyRing
from somagent.messaging.streams import Bus
from somagent.notifications.channels import channels
from somagent.runs.ledger_recovery import LedgerRecovery
from somagent.runs.run_reconciler import RunReconciler
from somagent.settings import Settings
from somagent.temporal.client import connect
from workers.maintenance.content_pruner import prune_hourly
from workers.relay.notifier import Notifier

POLL_SECONDS = 0.2
STANDBY_SECONDS = 1.0
BATCH = 500
FIRST_WAIT = 0.2
LONGEST_WAIT = 5.0
RECONCILE_SECONDS = 15.0
LEADERSHIP = 7_405_113_803  # any number that is ours

log = structlog.get_logger(__name__)


async def relay(settings: Settings) -> None:
    """Carry and reconcile until cancelled. Servers may come and go; this waits for them."""
    async with (
        open_store(settings.database("relay"), connections=5) as outbox,
        open_store(settings.database("app"), connections=2) as store,
        Bus(settings.redis_target()) as bus,
        asyncio.TaskGroup() as tasks,
    ):
        tasks.create_task(persisting("relay", lambda: carry(outbox, bus)))
        tasks.create_task(persisting("reconcile", lambda: reconcile(settings, outbox, store)))
        tasks.create_task(persisting("retention", lambda: prune_hourly(outbox, settings.prune_seconds)))
        for channel in channels(settings):
            notifier = Notifier(channel, outbox, store, types=settings.notify_events, api=settings.api_base())
            tasks.create_task(persisting(f"notify by {channel.name}", notifier.run))


async def persisting(part: str, work: Callable[[], Awaitable[None]]) -> None:
    """Do the work for ever: after a failure of ours again, waiting longer each time it fails at once."""
    wait = FIRST_WAIT
    clock = asyncio.get_running_loop().time
    while True:
        began = clock()
        try:
            await work()
        except SomaError as error:
            wait = FIRST_WAIT if clock() - began > LONGEST_WAIT else min(wait * 2, LONGEST_WAIT)
            log.warning("relay.interrupted", part=part, code=error.code, problem=error.message, again_in_seconds=wait)
            await asyncio.sleep(wait)


async def carry(outbox: Store, bus: Bus) -> None:
    """Lead, and carry batch after batch. Raises Unavailable when PostgreSQL or Valkey goes."""
    async with translated(), outbox.engine.connect() as connection:
        try:
            await _lead(connection)
            log.info("relay.leading")
            while True:
                # A lost session is a lost lock: this fails then, before another relay's events are overtaken.
                await connection.execute(text("SELECT 1"))
                await connection.commit()
                if await carry_batch(outbox, bus) < BATCH:
                    await asyncio.sleep(POLL_SECONDS)
        finally:
            # The lock is the session's: in the pool it would be held for ever, against ourselves too.
            await connection.invalidate()


async def carry_batch(outbox: Store, bus: Bus) -> int:
    """Publish and mark the oldest waiting events; return how many."""
    async with next_batch(outbox.engine, BATCH) as batch:
        if batch.events:
            await bus.publish_all(batch.events)
            await batch.mark([event.id for event in batch.events])
    return len(batch.events)


async def reconcile(settings: Settings, outbox: Store, store: Store) -> None:
    """Close what Temporal ended, every 15 seconds. Raises Unavailable when a server goes."""
    client = await connect(settings, KeyRing.load(settings.keys_dir))
    reaper = LedgerRecovery(client, store, PostgresLedger(store))
    reconciler = RunReconciler(client, outbox, PostgresRuns(store), reaper)
    while True:
        for closed in await reconciler.sweep():
            log.info("reconcile.closed", run=closed.run, status=closed.status, reason=closed.reason)
        await asyncio.sleep(RECONCILE_SECONDS)


async def _lead(connection: AsyncConnection) -> None:
    lock = text("SELECT pg_try_advisory_lock(:lock)")
    while not await connection.scalar(lock, {"lock": LEADERSHIP}):
        await connection.commit()
        await asyncio.sleep(STANDBY_SECONDS)
    await connection.commit()


async def _until_told_to_stop(settings: Settings) -> None:
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    try:
        await relay(settings)
    except asyncio.CancelledError:
        log.info("relay.stopped")


def main() -> None:
    """Run the process: one JSON object a line on standard output."""
    settings = Settings()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[settings.log_level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(sys.stdout),
    )
    asyncio.run(_until_told_to_stop(settings))


if __name__ == "__main__":
    main()
