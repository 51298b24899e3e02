"""What a start would take: an implementation of `capsules.ports.Foresight`, and the shapes that it is made of."""

import datetime as dt
from dataclasses import dataclass

from capsules.amounts import Amounts
from capsules.capsule import Capsule
from capsules.chat import Price
from capsules.forecast import Forecast, Shape, shape_of
from capsules.names import parse_reference
from capsules.run import StartCapsule
from somagent.forecasting import Forecasting
from somagent.slm.profiles import Profiles
from somagent.store.database import Store
from somagent.store.transaction import Transaction

MAX_DEPTH = 8
"""How deep composites may nest."""


@dataclass(frozen=True)
class LearnedForesight:
    """Learned from the tenant's completed runs."""

    store: Store
    forecasting: Forecasting
    profiles: Profiles

    async def of(self, tenant: str, request: StartCapsule) -> Forecast:
        """Forecast a run before it is admitted. Raises NotFound for a capsule that is not published."""
        async with self.store.transaction(tenant) as tx:
            capsule = (await tx.capsules.get(parse_reference(request.capsule))).capsule
        return await self.forecast(tenant, capsule, input_length=request.input_length, budget=request.budget)

    async def forecast(self, tenant: str, capsule: Capsule, *, input_length: int, budget: Amounts | None) -> Forecast:
        """Forecast a run of this capsule, by today's price."""
        forecaster = await self.forecasting.of(tenant)
        async with self.store.transaction(tenant) as tx:
            shape = await shape_in(tx, capsule, self.profiles, input_length=input_length)
        price = self.profiles.price(capsule.spec.model.role, today()) if capsule.spec.model else Price()
        return forecaster.forecast(shape, bound=budget or capsule.spec.budget.amounts(), price=price)


def today() -> dt.date:
    """Return the day by which prices are looked up, in UTC."""
    return dt.datetime.now(dt.UTC).date()


async def shape_in(
    tx: Transaction, capsule: Capsule, profiles: Profiles, *, input_length: int, depth: int = 0
) -> Shape:
    """Return the shape of a run, with those of a composite's tasks."""
    tasks = capsule.spec.tasks if depth < MAX_DEPTH else ()
    children = [(await tx.capsules.get(parse_reference(task.capsule))).capsule for task in tasks]
    parts = [await shape_in(tx, child, profiles, input_length=0, depth=depth + 1) for child in children]
    model = profiles.of(capsule.spec.model.role).model if capsule.spec.model else ""
    return shape_of(capsule, model=model, input_length=input_length, parts=tuple(parts))
