"""Rate limit on Valkey: implements `RateWindows` of `capsules.budgets.account`. Without Valkey no effect may begin."""

from collections.abc import Awaitable, Sequence
from typing import Any, Self, cast

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from capsules.budgets.account import RateBound, RateRefusal
from capsules.errors import Unavailable
from somagent.budgets.rate_scripts import CORRECT, FILL, TAKE
from somagent.db.database import Database
from somagent.db.gate.effects import recent_effects

WINDOW_MS = 60_000
SETTLING_MS = 1000
"""Wait after a loss, so that all effects that began before it are in the ledger when the window is filled."""
SOCKET_SECONDS = 2.0
CONNECTIONS = 8
WAIT_SECONDS = 5.0
"""Time that a call waits for a free connection."""


class ValkeyWindows:
    """The rate windows of all accounts; one object for each worker process."""

    def __init__(self, redis_url: str, db: Database) -> None:
        self._db = db
        self._redis = Redis.from_pool(
            BlockingConnectionPool.from_url(
                redis_url,
                max_connections=CONNECTIONS,
                timeout=WAIT_SECONDS,
                socket_timeout=SOCKET_SECONDS,
                socket_connect_timeout=SOCKET_SECONDS,
                retry=Retry(NoBackoff(), 0),
            )
        )
        self._take, self._correct, self._fill = (self._redis.register_script(text) for text in (TAKE, CORRECT, FILL))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._redis.aclose()

    async def take(self, tenant: str, bounds: Sequence[RateBound], *, effect: str, tokens: int) -> RateRefusal | None:
        """Count an effect in the windows of all accounts and return None; or in none, and return the refusal.

        Raises Unavailable without Valkey, or without the database when a window must be filled.
        """
        bases = [_base(tenant, bound.account) for bound in bounds]
        limits = [value for bound in bounds for value in (_script_limit(bound.tokens), _script_limit(bound.calls))]
        arguments = [WINDOW_MS, effect, tokens, *limits]
        status, *answer = await self._run(self._take, bases, arguments)
        while status == 1:
            lost, since = bounds[answer[0] - 1], answer[1]
            if since < SETTLING_MS:
                return RateRefusal(
                    account=lost.account,
                    seconds=SETTLING_MS / 1000,
                    sentence=f"The rate window of {lost.account} is new or was lost; it is filled from the ledger now.",
                )
            await self._fill_window(tenant, lost.account)
            status, *answer = await self._run(self._take, bases, arguments)
        if status == 0:
            return None
        full = bounds[answer[0] - 1]
        return RateRefusal(account=full.account, seconds=answer[1] / 1000, sentence=f"{full.describe()} are in use.")

    async def correct(self, tenant: str, bounds: Sequence[RateBound], *, effect: str, tokens: int | None) -> None:
        """Replace the tokens of an effect by its real usage; None removes the effect. Raises Unavailable."""
        bases = [_base(tenant, bound.account) for bound in bounds]
        await self._run(self._correct, bases, [effect, -1 if tokens is None else tokens])

    async def _fill_window(self, tenant: str, account: str) -> None:
        entries = await recent_effects(self._db, tenant, account, seconds=WINDOW_MS / 1000)
        flat = [part for entry in entries for part in (entry.effect, entry.tokens, entry.age_ms)]
        await self._run(self._fill, [_base(tenant, account)], [WINDOW_MS, *flat])

    @staticmethod
    async def _run(script: Any, keys: list[str], arguments: list[Any]) -> Any:  # noqa: ANN401 - the client's own types
        try:
            return await cast("Awaitable[Any]", script(keys=keys, args=arguments))
        except (RedisError, OSError, TimeoutError) as error:
            raise Unavailable(
                f"Valkey cannot be reached ({type(error).__name__}), so the rate limit cannot be kept; nothing runs.",
                part="valkey",
            ) from error


def _base(tenant: str, account: str) -> str:
    return f"somagent:pace:{{{tenant}}}:{account}"


def _script_limit(bound: int | None) -> int:
    """Return the limit as the scripts take it: -1 for none."""
    return -1 if bound is None else bound
