"""Relay process: `python -m workers.relay`. Publishes the outbox, reconciles runs, notifies people, prunes content.

Delivery is at least once: events are published, then marked, so a crash between the two publishes them again, with the
same ids. One relay works at a time, under a lock in PostgreSQL, so that the events of a run arrive in order.
"""

import asyncio
import logging
import sys
from collections.abc import Awaitable, Callable

import structlog
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from capsules.errors import SomaError
from somagent.db.database import Database, open_database
from somagent.db.errors import translate_errors
from somagent.db.gate.ledger import PostgresLedger
from somagent.db.gate.run_projection import PostgresRuns
from somagent.db.repositories.outbox import events_wait, next_batch
from somagent.identity.keys import KeyRing
from somagent.messaging.event_bus import EventBus
from somagent.notifications.channels import channels
from somagent.runs.ledger_recovery import LedgerRecovery
from somagent.runs.run_reconciler import RunReconciler
from somagent.settings import Settings
from somagent.stop_signals import run_until_stop_signal
from somagent.temporal.client import connect
from workers.relay.content_pruner import prune_hourly
from workers.relay.notifier import Notifier

POLL_SECONDS = 0.2
STANDBY_SECONDS = 1.0
BATCH = 500
FIRST_WAIT = 0.2
MAX_WAIT = 5.0
RECONCILE_SECONDS = 15.0
ADVISORY_LOCK = 7_405_113_803  # id of the relay's lock in PostgreSQL

log = structlog.get_logger(__name__)


async def relay(settings: Settings) -> None:
    """Do the work of the relay until cancelled. It waits for servers that are down."""
    async with (
        open_database(settings.database("relay"), connections=5) as outbox,
        open_database(settings.database("app"), connections=2) as db,
        EventBus(settings.redis_target()) as bus,
        asyncio.TaskGroup() as tasks,
    ):
        tasks.create_task(repeat_forever("relay", lambda: publish_outbox(outbox, bus)))
        tasks.create_task(repeat_forever("reconcile", lambda: reconcile(settings, outbox, db)))
        tasks.create_task(repeat_forever("retention", lambda: prune_hourly(outbox, settings.prune_seconds)))
        for channel in channels(settings):
            notifier = Notifier(channel, outbox, db, types=settings.notify_events, api=settings.api_base())
            tasks.create_task(repeat_forever(f"notify by {channel.name}", notifier.run))


async def repeat_forever(part: str, work: Callable[[], Awaitable[None]]) -> None:
    """Repeat the work for ever, with exponential backoff while it raises one of our errors."""
    wait = FIRST_WAIT
    clock = asyncio.get_running_loop().time
    while True:
        began = clock()
        try:
            await work()
        except SomaError as error:
            wait = FIRST_WAIT if clock() - began > MAX_WAIT else min(wait * 2, MAX_WAIT)
            log.warning("relay.interrupted", part=part, code=error.code, problem=error.message, again_in_seconds=wait)
            await asyncio.sleep(wait)


async def publish_outbox(outbox: Database, bus: EventBus) -> None:
    """Take the lock and publish batch after batch. Raises Unavailable when PostgreSQL or Valkey stops."""
    async with translate_errors(), outbox.engine.connect() as connection:
        # One statement is one round trip: an idle relay asks five times a second.
        await connection.execution_options(isolation_level="AUTOCOMMIT")
        try:
            await _wait_for_lock(connection)
            log.info("relay.leading")
            while True:
                # Without its session the lock is lost, and this fails: two relays never publish at once.
                if not await events_wait(connection) or await publish_batch(outbox, bus) < BATCH:
                    await asyncio.sleep(POLL_SECONDS)
        finally:
            # The session holds the lock. In the pool it would keep it for ever, so close it.
            await connection.invalidate()


async def publish_batch(outbox: Database, bus: EventBus) -> int:
    """Publish and mark the oldest waiting events; return how many."""
    async with next_batch(outbox.engine, BATCH) as batch:
        if batch.events:
            await bus.publish(*batch.events)
            await batch.mark_published()
    return len(batch.events)


async def reconcile(settings: Settings, outbox: Database, db: Database) -> None:
    """Close the runs of ended workflows, every 15 seconds. Raises Unavailable when a server stops."""
    client = await connect(settings, KeyRing.load(settings.keys_dir), unbound=(await db.read_cut_over()).workflows)
    recovery = LedgerRecovery(client, db, PostgresLedger(db))
    reconciler = RunReconciler(client, outbox, PostgresRuns(db), recovery)
    while True:
        for closed in await reconciler.sweep():
            log.info("run_reconciler.closed", run=closed.run, status=closed.status, reason=closed.reason)
        await asyncio.sleep(RECONCILE_SECONDS)


async def _wait_for_lock(connection: AsyncConnection) -> None:
    lock = text("SELECT pg_try_advisory_lock(:lock)")
    while not await connection.scalar(lock, {"lock": ADVISORY_LOCK}):  # noqa: ASYNC110 - the lock is another process's
        await asyncio.sleep(STANDBY_SECONDS)


def main() -> None:
    """Run the process. It logs one JSON object a line on standard output."""
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
    asyncio.run(run_until_stop_signal(relay(settings)))
    log.info("relay.stopped")
