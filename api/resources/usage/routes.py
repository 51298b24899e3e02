"""Usage: what the tenant's runs spent, by project, capsule, persona, model and day; as JSON or CSV."""

import datetime as dt
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from fastapi.responses import Response

from api.access import BudgetReader
from api.deps import Soma
from api.middleware.bodies import StorableJsonRoute
from api.middleware.problems import responses
from capsules.base_model import FrozenModel
from capsules.budgets.usage_report import DayRange, Usage, UsageGroup, as_csv
from somagent.forecasts.run_forecasts import today

router = APIRouter(prefix="/v1/usage", tags=["usage"], route_class=StorableJsonRoute)

By = Annotated[list[UsageGroup] | None, Query(description="What to group by, as often as needed. Unset: one total.")]
Since = Annotated[dt.date | None, Query(description="First day, UTC. Unset: thirty days before the last.")]
Until = Annotated[dt.date | None, Query(description="Last day, UTC. Unset: today.")]
FILE: dict[int | str, dict[str, Any]] = {200: {"content": {"text/csv": {"schema": {"type": "string"}}}}}


class UsageAnswer(FrozenModel):
    """What was spent in some days, one item a group."""

    since: dt.date
    until: dt.date
    items: tuple[Usage, ...]


@router.get("", responses={**FILE, **responses()}, response_model=UsageAnswer)
async def show_usage(  # noqa: PLR0913, PLR0917 - a parameter for each thing that a report is asked
    caller: BudgetReader,
    soma: Soma,
    by: By = None,
    since: Since = None,
    until: Until = None,
    format: Annotated[Literal["json", "csv"], Query(description="How to write it.")] = "json",  # noqa: A002 - as it is asked
) -> UsageAnswer | Response:
    """Report what runs that began in these days spent themselves; a child's part is the child's."""
    days = DayRange.of(since, until, today=today())
    begins, ends = days.moments()
    async with soma.db.transaction(caller.tenant) as tx:
        items = await tx.usage.report(by or (), since=begins, until=ends)
    if format == "json":
        return UsageAnswer(since=days.first, until=days.last, items=items)
    name = f"usage-{caller.tenant}-{days.first}-{days.last}.csv"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Response(as_csv(items), media_type="text/csv", headers=headers)
