"""Notifier: delivers notifications to people, one loop for each channel, in the relay process.

Delivery is at least once: a delivery is leased, sent and marked. After a crash between the two it is sent again, under
the same event id. A channel that is down keeps its notifications and does not delay the other.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import structlog

from capsules.approvals.approval import Approval
from capsules.errors import NotFound, SomaError, Unavailable
from capsules.events import Event
from somagent.db.database import Database
from somagent.db.repositories.deliveries import DeliveryQueue, DueDelivery
from somagent.notifications.notification import Channel, Notification, NotSent, compose

POLL_SECONDS = 1.0
LEASE = timedelta(seconds=90)
"""Longer than any attempt takes, so that two relays never send the same delivery at once."""
ATTEMPTS = 24
LONGEST_WAIT = timedelta(hours=1)
FIRST_WAIT = timedelta(seconds=2)
"""Doubled after each attempt: 24 attempts are about 13 hours."""
LONGEST_SAID = 500

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Notifier:
    """The delivery loop of one channel."""

    channel: Channel
    outbox: Database
    """Opened as the relay's role, which sees every tenant's events."""
    db: Database
    """Opened as the application: what waits is read as its tenant sees it."""
    types: Sequence[str]
    api: str
    first_wait: timedelta = FIRST_WAIT
    attempts: int = ATTEMPTS
    lease: timedelta = LEASE

    async def run(self) -> None:
        """Deliver, for ever. Raises Unavailable when the database stops."""
        while True:
            await self.sweep()
            await asyncio.sleep(POLL_SECONDS)

    async def sweep(self) -> int:
        """Deliver everything that is due, oldest event first; return how many deliveries were tried."""
        queue = DeliveryQueue(self.outbox.engine, self.channel.name)
        # A delivery that fails and is due again waits for the next sweep; otherwise new events would not be seen.
        began = await queue.enqueue(self.types)
        tried = 0
        while (due := await queue.take(began, lease=self.lease)) is not None:
            await self._deliver(queue, due)
            tried += 1
        return tried

    async def _deliver(self, queue: DeliveryQueue, due: DueDelivery) -> None:
        told = log.bind(channel=self.channel.name, event=due.event.id, type=due.event.type, attempt=due.attempt)
        try:
            said = (await self.channel.send(await self._compose(due.event)))[:LONGEST_SAID]
        except Unavailable:
            raise  # the database, not the receiver, failed: the lease expires and the delivery is tried again
        except Exception as error:  # noqa: BLE001 - no error of one delivery may stop the relay
            said = (str(error) or type(error).__name__)[:LONGEST_SAID]
            if not isinstance(error, NotSent | SomaError):
                told.exception("notice.failed")
            if due.attempt >= self.attempts or getattr(error, "final", False):
                told.error("notice.dead", problem=said)
                await queue.finish(due, "dead", said)
            else:
                wait = self._wait(due.attempt)
                told.warning("notice.postponed", problem=said, again_in_seconds=wait.total_seconds())
                await queue.postpone(due, said, wait=wait)
            return
        told.info("notice.sent", said=said)
        await queue.finish(due, "sent", said)

    async def _compose(self, event: Event) -> Notification:
        return compose(event, await self._approval(event), api=self.api)

    async def _approval(self, event: Event) -> Approval | None:
        approval = event.data.get("approval")
        if not isinstance(approval, str):
            return None
        try:
            async with self.db.transaction(event.tenant) as tx:
                return await tx.approvals.get(approval)
        except NotFound:
            return None

    def _wait(self, attempt: int) -> timedelta:
        doubled: timedelta = self.first_wait * 2 ** min(attempt - 1, 20)
        return min(doubled, LONGEST_WAIT)
