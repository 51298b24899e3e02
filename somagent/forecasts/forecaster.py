"""Forecasts of starts, learned from a tenant's completed runs: implements `Foresight` of `capsules.forecasts.forecast`.

Learning reads hundreds of runs, so what was learned is kept for some seconds and a start does not wait for it.
"""

import asyncio
import datetime as dt
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from capsules.budgets.amounts import Amounts
from capsules.capsule import Capsule
from capsules.forecasts.forecast import Forecast, Past, Shape, shape_of
from capsules.models.chat import Price
from capsules.names import parse_reference
from capsules.runs.run import StartCapsule
from somagent.db.database import Store
from somagent.db.transaction import Transaction
from somagent.models.profiles import Profiles

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


MAX_DEPTH = 8
"""How deep composites may nest."""


@dataclass(frozen=True)
class LearnedForesight:
    """Learned from the tenant's completed runs."""

    store: Store
    forecasting: ForecasterCache
    profiles: Profiles

    async def of(self, tenant: str, request: StartCapsule) -> Forecast:
        """Forecast a run before it is admitted. Raises NotFound for a capsule that is not published."""
        async with self.store.transaction(tenant) as tx:
            capsule = (await tx.capsules.get(parse_reference(request.capsule))).capsule
        return await self.forecast(tenant, capsule, input_length=request.input_length, budget=request.budget)

    async def forecast(self, tenant: str, capsule: Capsule, *, input_length: int, budget: Amounts | None) -> Forecast:
        """Forecast a run of this capsule, by today's price. Raises NotFound for a child that is not published."""
        forecaster = await self.forecasting.of(tenant)
        async with self.store.transaction(tenant) as tx:
            children: dict[str, Capsule] = {}
            await _load(tx, capsule, children)
        shape = shape_in(capsule, children, self.profiles, input_length=input_length)
        price = self.profiles.price(capsule.spec.model.role, today()) if capsule.spec.model else Price()
        return forecaster.forecast(shape, bound=budget or capsule.spec.budget.amounts(), price=price)


def today() -> dt.date:
    """Return the day by which prices are looked up, in UTC."""
    return dt.datetime.now(dt.UTC).date()


def shape_in(
    capsule: Capsule, children: Mapping[str, Capsule], profiles: Profiles, *, input_length: int, depth: int = 0
) -> Shape:
    """Return the shape of a run, with those of a composite's tasks.

    children: the capsules of the tasks, and of theirs, by the reference that a task names.
    """
    parts = tuple(
        shape_in(children[task.capsule], children, profiles, input_length=0, depth=depth + 1)
        for task in (capsule.spec.tasks if depth < MAX_DEPTH else ())
    )
    model = profiles.of(capsule.spec.model.role).model if capsule.spec.model else ""
    return shape_of(capsule, model=model, input_length=input_length, parts=parts)


async def _load(tx: Transaction, capsule: Capsule, children: dict[str, Capsule]) -> None:
    """Add the capsules of the tasks, and of theirs, each read once."""
    for task in capsule.spec.tasks:
        if task.capsule not in children:
            children[task.capsule] = (await tx.capsules.get(parse_reference(task.capsule))).capsule
            await _load(tx, children[task.capsule], children)
