"""Usage: what the tenant's runs spent by project, capsule, persona, model and day, as JSON or CSV."""

import datetime as dt
from typing import Annotated, Any, Literal

from fastapi import Query
from fastapi.responses import Response

from api.access import BudgetReader
from api.deps import StateDep
from api.middleware.problems import resource_router
from capsules.base_model import FrozenModel
from capsules.budgets.usage_report import DayRange, Usage, UsageGroup, as_csv
from somagent.forecasts.run_forecasts import today

router = resource_router("/v1/usage", "usage")

By = Annotated[
    list[UsageGroup] | None, Query(description="Group by this dimension; may be repeated. Unset: one total.")
]
Since = Annotated[dt.date | None, Query(description="First day, UTC. Unset: 30 days before the last day.")]
Until = Annotated[dt.date | None, Query(description="Last day, UTC. Unset: today.")]
FILE: dict[int | str, dict[str, Any]] = {200: {"content": {"text/csv": {"schema": {"type": "string"}}}}}


class UsageResponse(FrozenModel):
    """Usage from the day `since` to the day `until`, one item for each group."""

    since: dt.date
    until: dt.date
    items: tuple[Usage, ...]


@router.get("", responses=FILE, response_model=UsageResponse)
async def show_usage(  # noqa: PLR0913, PLR0917 - a parameter for each option
    caller: BudgetReader,
    state: StateDep,
    by: By = None,
    since: Since = None,
    until: Until = None,
    format: Annotated[Literal["json", "csv"], Query(description="Format of the response.")] = "json",  # noqa: A002 - the name of the parameter
) -> UsageResponse | Response:
    """Report what the runs that began on these days spent. Each run counts without its child runs."""
    days = DayRange.of(since, until, today=today())
    begins, ends = days.moments()
    async with state.db.transaction(caller.tenant) as tx:
        items = await tx.usage.report(by or (), since=begins, until=ends)
    if format == "json":
        return UsageResponse(since=days.first, until=days.last, items=items)
    name = f"usage-{caller.tenant}-{days.first}-{days.last}.csv"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Response(as_csv(items), media_type="text/csv", headers=headers)
