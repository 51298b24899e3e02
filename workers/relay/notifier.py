"""Notifier: delivers notifications to people, one loop for each channel, in the relay process.

Delivery is at least once: a delivery is leased, sent and marked. After a crash between the two it is sent again, under
the same event id. A channel that is down keeps its notifications and does not delay the other channels.
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
"""Longer than any attempt takes, so that two relays never send one delivery at the same time."""
ATTEMPTS = 24
MAX_WAIT = timedelta(hours=1)
FIRST_WAIT = timedelta(seconds=2)
"""Doubled after each attempt: 24 attempts are about 13 hours."""
ANSWER_LIMIT = 500

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Notifier:
    """The delivery loop of one channel."""

    channel: Channel
    outbox: Database
    """Opened with the relay's role, which sees every tenant's events."""
    db: Database
    """Opened with the application's role, which sees the approvals of one tenant at a time."""
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
        # A delivery that fails waits for the next sweep, even if it is due again: otherwise new events would wait.
        began = await queue.enqueue(self.types)
        tried = 0
        while (due := await queue.take(began, lease=self.lease)) is not None:
            await self._deliver(queue, due)
            tried += 1
        return tried

    async def _deliver(self, queue: DeliveryQueue, due: DueDelivery) -> None:
        bound_log = log.bind(channel=self.channel.name, event=due.event.id, type=due.event.type, attempt=due.attempt)
        try:
            answer = (await self.channel.send(await self._compose(due.event)))[:ANSWER_LIMIT]
        except Unavailable:
            raise  # the database failed, not the receiver: the lease expires and the delivery is tried again
        except Exception as error:  # noqa: BLE001 - no error of one delivery may stop the relay
            answer = (str(error) or type(error).__name__)[:ANSWER_LIMIT]
            if not isinstance(error, NotSent | SomaError):
                bound_log.exception("notification.failed")
            if due.attempt >= self.attempts or getattr(error, "final", False):
                bound_log.error("notification.dead", problem=answer)
                await queue.finish(due, "dead", answer)
            else:
                wait = self._backoff(due.attempt)
                bound_log.warning("notification.postponed", problem=answer, again_in_seconds=wait.total_seconds())
                await queue.postpone(due, answer, wait=wait)
            return
        bound_log.info("notification.sent", answer=answer)
        await queue.finish(due, "sent", answer)

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

    def _backoff(self, attempt: int) -> timedelta:
        doubled: timedelta = self.first_wait * 2 ** min(attempt - 1, 20)
        return min(doubled, MAX_WAIT)
