"""Usage: what the tenant's runs spent, by project, capsule, persona, model and day; as JSON or CSV."""

import csv
import datetime as dt
import io
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict

from api.access import BudgetReader
from api.bodies import KeptRoute
from api.problems import responses
from api.state import Soma
from capsules.errors import Invalid
from capsules.usage_report import COLUMNS, Dimension, Usage, row

router = APIRouter(prefix="/v1/usage", tags=["usage"], route_class=KeptRoute)

DAYS = 31
By = Annotated[list[Dimension] | None, Query(description="What to group by, as often as needed. Unset: one total.")]
Since = Annotated[dt.date | None, Query(description="First day, UTC. Unset: thirty days before the last.")]
Until = Annotated[dt.date | None, Query(description="Last day, UTC. Unset: today.")]
FILE: dict[int | str, dict[str, Any]] = {200: {"content": {"text/csv": {"schema": {"type": "string"}}}}}


class Report(BaseModel):
    """What was spent in some days, one item a group."""

    model_config = ConfigDict(frozen=True)

    since: dt.date
    until: dt.date
    items: tuple[Usage, ...]


@router.get("", responses={**FILE, **responses()}, response_model=Report)
async def show_usage(  # noqa: PLR0913, PLR0917 - a parameter for each thing that a report is asked
    caller: BudgetReader,
    soma: Soma,
    by: By = None,
    since: Since = None,
    until: Until = None,
    format: Annotated[Literal["json", "csv"], Query(description="How to write it.")] = "json",  # noqa: A002 - as it is asked
) -> Report | Response:
    """Report what runs that began in these days spent themselves; a child's part is the child's."""
    last = until or dt.datetime.now(dt.UTC).date()
    first = since or last - dt.timedelta(days=DAYS - 1)
    if first > last:
        raise Invalid(f"A report from {first} until {last} has no days: `since` comes first.", field="since")
    async with soma.store.transaction(caller.tenant) as tx:
        items = await tx.usage.report(by or (), since=_midnight(first), until=_midnight(last + dt.timedelta(days=1)))
    if format == "json":
        return Report(since=first, until=last, items=items)
    name = f"usage-{caller.tenant}-{first}-{last}.csv"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Response(_csv(items), media_type="text/csv", headers=headers)


def _midnight(day: dt.date) -> dt.datetime:
    return dt.datetime.combine(day, dt.time(), dt.UTC)


def _csv(items: tuple[Usage, ...]) -> str:
    file = io.StringIO()
    writer = csv.DictWriter(file, COLUMNS, lineterminator="\r\n")  # RFC 4180
    writer.writeheader()
    writer.writerows(map(row, items))
    return file.getvalue()
