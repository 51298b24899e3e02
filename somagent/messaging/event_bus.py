"""Event bus on Valkey: one stream for each run, with its events and the pieces of its replies, and one for each topic.

Delivery is at least once: an event has an id, and readers drop ids that they have seen. Streams have a maximum length
and expire. The durable record is the outbox in PostgreSQL.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any, Literal, Self
from urllib.parse import urlsplit

import structlog
from redis.asyncio import Redis
from redis.asyncio.client import Pipeline
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from capsules.errors import Unavailable
from capsules.events import Event

KEPT = 5_000  # entries of a stream, approximately
KEPT_SECONDS = 86_400
CONNECT_SECONDS = 2
ANSWER_SECONDS = 5
BLOCK_MS = 1_000  # shorter than ANSWER_SECONDS; otherwise a wait for entries would look like a lost server
PAGE = 200
PAUSE_SECONDS = 2.0

StreamKind = Literal["event", "token"]
KINDS: tuple[StreamKind, ...] = ("event", "token")
Entry = tuple[str, StreamKind, dict[str, Any]]
START = "0-0"


def run_stream(tenant: str, run: str) -> str:
    """Return the key of a run's stream."""
    return f"somagent:{tenant}:run:{run}"


def topic_stream(topic: str) -> str:
    """Return the key of a topic's stream."""
    return f"somagent:topic:{topic}"


class EventBus:
    """The event bus. It connects at the first use. Every method raises Unavailable when Valkey cannot be used."""

    def __init__(self, redis_url: str) -> None:
        parts = urlsplit(redis_url)
        self.address = f"{parts.hostname}:{parts.port or 6379}"
        self._redis: Redis = Redis.from_url(
            redis_url,
            decode_responses=True,
            socket_connect_timeout=CONNECT_SECONDS,
            socket_timeout=ANSWER_SECONDS,
            retry=Retry(NoBackoff(), 1),  # once: a pooled connection may be older than the server
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._redis.aclose()

    async def publish(self, *events: Event) -> None:
        """Append events in order, in one round trip."""
        async with self._translate_errors(), self._redis.pipeline(transaction=False) as pipe:
            for event in events:
                document = event.model_dump_json()
                if event.run is not None:
                    _append(pipe, run_stream(event.tenant, event.run), "event", document)
                _append(pipe, topic_stream(event.topic), "event", document)
            await pipe.execute()

    async def publish_token(self, tenant: str, run: str, piece: dict[str, Any]) -> None:
        """Append a piece of a model's reply to the run's stream."""
        async with self._translate_errors(), self._redis.pipeline(transaction=False) as pipe:
            _append(pipe, run_stream(tenant, run), "token", json.dumps(piece, ensure_ascii=False))
            await pipe.execute()

    async def tail(self, tenant: str, run: str, last_id: str = START) -> AsyncIterator[Entry]:
        """Yield (stream id, kind, document) of a run from after `last_id`, without end. Close it to stop."""
        stream, position = run_stream(tenant, run), last_id
        while True:
            async with self._translate_errors():
                answer = await self._redis.xread({stream: position}, count=PAGE, block=BLOCK_MS)
            for id_, fields in _entries(answer, stream):
                position = id_
                for kind in KINDS:
                    if kind in fields:
                        yield id_, kind, json.loads(fields[kind])

    async def check(self) -> None:
        """Raise Unavailable unless Valkey answers now."""
        async with self._translate_errors():
            await self._redis.ping()

    @contextlib.asynccontextmanager
    async def _translate_errors(self) -> AsyncIterator[None]:
        try:
            yield
        except (RedisError, OSError) as error:
            raise Unavailable(
                f"Valkey at {self.address} cannot be used now: {error or type(error).__name__}", address=self.address
            ) from error


def _append(pipe: Pipeline, stream: str, kind: StreamKind, document: str) -> None:
    pipe.xadd(stream, {kind: document}, maxlen=KEPT, approximate=True)
    pipe.expire(stream, KEPT_SECONDS)


def _entries(answer: Any, stream: str) -> list[tuple[str, dict[str, str]]]:  # noqa: ANN401 - RESP2 or RESP3
    """Read XREAD's answer: RESP3 gives a mapping of streams to lists of pages, RESP2 a list of pairs."""
    if not answer:
        return []
    if isinstance(answer, dict):
        return [entry for page in answer[stream] for entry in page]
    return [entry for _, page in answer for entry in page]


class ValkeyTokens:
    """Implements `capsules.models.chat.TokenStream`. Pieces that cannot be sent are dropped, counted and logged.

    After a failure it sends nothing for two seconds: a reply has hundreds of pieces, and each would wait for a timeout.
    """

    def __init__(self, bus: EventBus) -> None:
        self._bus = bus
        self._resume_at = 0.0
        self.dropped = 0
        """Number of dropped pieces, a metric."""

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
