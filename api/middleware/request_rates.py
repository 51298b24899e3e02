"""Rate limit of requests: those of each principal in the last minute, in a Valkey window that all processes share.

When Valkey cannot be reached, each process counts its own requests and reports that. The limit then holds per process.
"""

import time
import uuid
from collections import OrderedDict, deque
from collections.abc import Awaitable
from typing import cast

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

WINDOW_SECONDS = 60
# A slow Valkey must not slow requests: it has this long to answer, and is left alone this long after a failure.
ANSWER_SECONDS = 0.25
RETRY_SECONDS = 2.0
MAX_KEYS = 10_000

# One round trip, and one clock (Valkey's) for all processes. Returns 0, or the milliseconds until a request may pass.
SCRIPT = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local window = tonumber(ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], 0, now - window)
if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[2]) then
  local oldest = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
  return math.max(1, oldest[2] + window - now)
end
redis.call('ZADD', KEYS[1], now, ARGV[3])
redis.call('PEXPIRE', KEYS[1], window)
return 0
"""


class RequestRates:
    """Request counts by key. `degraded` says why the shared window is not used now."""

    def __init__(self, redis_url: str, *, per_minute: int) -> None:
        self._redis = Redis.from_url(
            redis_url,
            socket_timeout=ANSWER_SECONDS,
            socket_connect_timeout=ANSWER_SECONDS,
            retry=Retry(NoBackoff(), 0),
        )
        self._limit = per_minute
        self._hits: OrderedDict[str, deque[float]] = OrderedDict()
        self._retry_at = 0.0
        self.degraded: str | None = None

    async def wait_seconds(self, key: str) -> float:
        """Count one request of `key`. Return 0 when it may pass, else the seconds until one may."""
        if time.monotonic() >= self._retry_at:
            try:
                milliseconds = await self._shared(key)
            except (RedisError, OSError, TimeoutError) as error:
                self.degraded = f"Valkey cannot be used ({type(error).__name__}); requests are counted per process."
                self._retry_at = time.monotonic() + RETRY_SECONDS
            else:
                self.degraded = None
                return milliseconds / 1000
        return self._in_process(key, time.monotonic())

    @property
    def valkey(self) -> Redis:
        """The connection, for others that ask Valkey within the same time."""
        return self._redis

    async def ping(self) -> None:
        """Raise unless Valkey answers."""
        await self._redis.ping()

    async def aclose(self) -> None:
        await self._redis.aclose()

    async def _shared(self, key: str) -> int:
        arguments = (str(WINDOW_SECONDS * 1000), str(self._limit), uuid.uuid4().hex)
        answer = self._redis.eval(SCRIPT, 1, f"somagent:rate:{key}", *arguments)
        return int(await cast("Awaitable[int]", answer))

    def _in_process(self, key: str, now: float) -> float:
        hits = self._hits.setdefault(key, deque())
        self._hits.move_to_end(key)
        if len(self._hits) > MAX_KEYS:
            self._hits.popitem(last=False)
        while hits and hits[0] <= now - WINDOW_SECONDS:
            hits.popleft()
        if len(hits) >= self._limit:
            return hits[0] + WINDOW_SECONDS - now
        hits.append(now)
        return 0.0
