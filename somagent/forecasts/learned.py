"""Forecasts of starts from completed runs: implements `RunForecaster` of `capsules.forecasts.forecast`."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass

from capsules.budgets.amounts import Amounts
from capsules.capsule import Capsule
from capsules.forecasts.forecast import Forecast, Shape, shape_of
from capsules.models.chat import Price
from capsules.names import parse_reference
from capsules.runs.run import StartCapsule
from somagent.db.database import Store
from somagent.db.transaction import Transaction
from somagent.forecasts.forecaster_cache import ForecasterCache
from somagent.models.profiles import Profiles

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
