"""Live pieces of a model's reply on the run's stream. Watching may fail; thinking must not wait for it."""

import asyncio

import structlog

from capsules.errors import Unavailable
from somagent.messaging.streams import Bus

PAUSE_SECONDS = 2.0


class ValkeyTokens:
    """Implements `capsules.models.chat.TokenStream`. What cannot be sent is dropped, counted and logged, never raised.

    After a failure it sends nothing for two seconds: a reply has hundreds of pieces, and each would wait for a timeout.
    """

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._resume_at = 0.0
        self.dropped = 0
        """Pieces lost since this was made; a metric."""

    async def publish(self, tenant: str, run: str, *, step: int, attempt: int, text: str) -> None:
        clock = asyncio.get_running_loop().time
        if clock() < self._resume_at:
            self.dropped += 1
            return
        try:
            await self._bus.publish_token(tenant, run, {"step": step, "attempt": attempt, "text": text})
        except Unavailable as error:
            self.dropped += 1
            self._resume_at = clock() + PAUSE_SECONDS
            structlog.get_logger().warning(
                "tokens.dropped", run=run, dropped=self.dropped, problem=error.message, pause_seconds=PAUSE_SECONDS
            )
