"""Forecasts of runs before their start: implements `RunForecaster` of `capsules.forecasts.forecast`.

Learning reads hundreds of runs, so the forecaster of a tenant is cached for some seconds and learned in the background.
"""

import asyncio
import datetime as dt
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from capsules.budgets.amounts import Amounts
from capsules.capsule import Capsule
from capsules.forecasts.forecast import Forecast, PastRun, Shape, shape_of
from capsules.models.chat import Price
from capsules.names import parse_reference
from capsules.runs.run import StartCapsule
from somagent.db.database import Database
from somagent.db.transaction import Transaction
from somagent.models.profiles import Profiles

MAX_DEPTH = 8
"""How deep composites may nest."""
FRESH_SECONDS = 10.0
STALE_SECONDS = 30.0
"""Up to this age a forecaster is used while a new one is learned. After FRESH_SECONDS a new one is learned."""


class TenantForecaster(Protocol):
    """Forecasts runs of one tenant, from whose completed runs it was learned."""

    def forecast(self, shape: Shape, *, bound: Amounts, price: Price) -> Forecast:
        """Return the forecast of a run. bound: its budget."""


LearnForecaster = Callable[[Sequence[PastRun]], TenantForecaster]


class ForecasterCache:
    """Keeps the forecaster of each tenant, and learns a new one in the background when it is older than ten seconds."""

    def __init__(self, db: Database, learn: LearnForecaster) -> None:
        self._db = db
        self._learn = learn
        self._known: dict[str, tuple[float, TenantForecaster]] = {}
        self._learning: dict[str, asyncio.Task[TenantForecaster]] = {}

    async def of(self, tenant: str) -> TenantForecaster:
        """Return the tenant's forecaster. Raises Unavailable when one must be learned and the database is gone."""
        learned = self._known.get(tenant)
        age = time.monotonic() - learned[0] if learned is not None else float("inf")
        if learned is not None and age < FRESH_SECONDS:
            return learned[1]
        task = self._learning.get(tenant)
        if task is None:
            task = self._learning[tenant] = asyncio.create_task(self._refresh(tenant))
            task.add_done_callback(lambda done: self._finish_refresh(tenant, done))
        return learned[1] if learned is not None and age < STALE_SECONDS else await asyncio.shield(task)

    async def _refresh(self, tenant: str) -> TenantForecaster:
        async with self._db.transaction(tenant) as tx:
            past = await tx.forecasts.past()
        forecaster = await asyncio.to_thread(self._learn, past)
        self._known[tenant] = time.monotonic(), forecaster
        return forecaster

    def _finish_refresh(self, tenant: str, task: "asyncio.Task[TenantForecaster]") -> None:
        self._learning.pop(tenant, None)
        if not task.cancelled():
            task.exception()  # marks the error as seen: callers that waited get it, others use the older forecaster


@dataclass(frozen=True)
class LearnedForecasts:
    """Forecasts runs by the tenant's forecaster and today's prices."""

    db: Database
    forecasters: ForecasterCache
    profiles: Profiles

    async def of(self, tenant: str, request: StartCapsule) -> Forecast:
        """Forecast a start. Raises NotFound for a capsule that is not published, Unavailable."""
        async with self.db.transaction(tenant) as tx:
            capsule = (await tx.capsules.get(parse_reference(request.capsule))).capsule
        return await self.forecast(tenant, capsule, input_length=request.input_length, budget=request.budget)

    async def forecast(self, tenant: str, capsule: Capsule, *, input_length: int, budget: Amounts | None) -> Forecast:
        """Forecast a run of a capsule. Raises NotFound for a child that is not published, Unavailable."""
        forecaster = await self.forecasters.of(tenant)
        async with self.db.transaction(tenant) as tx:
            children: dict[str, Capsule] = {}
            await _load_children(tx, capsule, children)
        shape = run_shape(capsule, children, self.profiles, input_length=input_length)
        price = self.profiles.price(capsule.spec.model.role, today()) if capsule.spec.model else Price()
        return forecaster.forecast(shape, bound=budget or capsule.spec.budget.amounts(), price=price)


def today() -> dt.date:
    """Return the day in UTC that counts for prices."""
    return dt.datetime.now(dt.UTC).date()


def run_shape(
    capsule: Capsule, children: Mapping[str, Capsule], profiles: Profiles, *, input_length: int, depth: int = 0
) -> Shape:
    """Return the shape of a run, with the shapes of a composite's tasks.

    children: the capsules of all tasks at any depth, by the reference that a task names. input_length: characters.
    """
    parts = tuple(
        run_shape(children[task.capsule], children, profiles, input_length=0, depth=depth + 1)
        for task in (capsule.spec.tasks if depth < MAX_DEPTH else ())
    )
    model = profiles.of(capsule.spec.model.role).model if capsule.spec.model else ""
    return shape_of(capsule, model=model, input_length=input_length, parts=parts)


async def _load_children(tx: Transaction, capsule: Capsule, children: dict[str, Capsule]) -> None:
    """Add the capsules of all tasks at any depth to `children`, each read once."""
    for task in capsule.spec.tasks:
        if task.capsule not in children:
            children[task.capsule] = (await tx.capsules.get(parse_reference(task.capsule))).capsule
            await _load_children(tx, children[task.capsule], children)
