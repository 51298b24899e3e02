"""The forecaster of each tenant, kept a while: learning reads hundreds of runs, and a start shall not wait for that."""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from capsules.budgets.amounts import Amounts
from capsules.forecasts.forecast import Forecast, Past, Shape
from capsules.models.chat import Price
from somagent.db.database import Store

FRESH_SECONDS = 10.0
STALE_SECONDS = 30.0
"""After this long what was learned is not used any more: who asks waits for what is learned now."""


class TenantForecaster(Protocol):
    def forecast(self, shape: Shape, *, bound: Amounts, price: Price) -> Forecast: ...


LearnForecaster = Callable[[Sequence[Past]], TenantForecaster]


class ForecasterCache:
    """Answers from what was learned last; when that is older than ten seconds, learns anew beside."""

    def __init__(self, store: Store, learn: LearnForecaster) -> None:
        self._store = store
        self._learn = learn
        self._known: dict[str, tuple[float, TenantForecaster]] = {}
        self._learning: dict[str, asyncio.Task[TenantForecaster]] = {}

    async def of(self, tenant: str) -> TenantForecaster:
        """Return the tenant's forecaster. Raises Unavailable when there is none yet and the store does not answer."""
        learned = self._known.get(tenant)
        age = time.monotonic() - learned[0] if learned is not None else float("inf")
        if learned is not None and age < FRESH_SECONDS:
            return learned[1]
        task = self._learning.get(tenant)
        if task is None:
            task = self._learning[tenant] = asyncio.create_task(self._refresh(tenant))
            task.add_done_callback(lambda done: self._done(tenant, done))
        return learned[1] if learned is not None and age < STALE_SECONDS else await asyncio.shield(task)

    async def _refresh(self, tenant: str) -> TenantForecaster:
        async with self._store.transaction(tenant) as tx:
            past = await tx.forecasts.past()
        forecaster = await asyncio.to_thread(self._learn, past)
        self._known[tenant] = time.monotonic(), forecaster
        return forecaster

    def _done(self, tenant: str, task: "asyncio.Task[TenantForecaster]") -> None:
        self._learning.pop(tenant, None)
        if not task.cancelled():
            task.exception()  # who waited has it; who did not goes on with what was learned before
