"""Usage report: spending by project, capsule, persona, model and day, as rows and as CSV."""

import csv
import datetime as dt
import io
from collections.abc import Iterable
from typing import Literal, NamedTuple, get_args

from pydantic import Field

from capsules.base_model import FrozenModel
from capsules.budgets.amounts import Amounts
from capsules.errors import Invalid

UsageGroup = Literal["project", "capsule", "persona", "model", "day"]
USAGE_GROUPS: tuple[UsageGroup, ...] = get_args(UsageGroup)


class Usage(FrozenModel):
    """Spending of one group of runs, without that of their child runs."""

    tenant: str
    project: str | None = Field(None, description="Empty for runs that spend the tenant's own budget.")
    capsule: str | None = Field(None, description="Name without version; empty where the report is not by capsule.")
    persona: str | None = None
    model: str | None = None
    day: dt.date | None = Field(None, description="UTC day on which the runs began.")
    runs: int
    failed: int = Field(description="Runs that failed or were cancelled.")
    spent: Amounts
    seconds: int = Field(description="How long runs that have ended worked. A child works in its parent's time.")


SPAN = 31
FORMULA = frozenset("=+-@\t\r")
COLUMNS = ("tenant", *USAGE_GROUPS, "runs", "failed", "tokens", "micro_usd", "tool_calls", "seconds")


def row(usage: Usage) -> dict[str, str | int]:
    """Return a flat row for a table or a CSV file, in the order of `COLUMNS`."""
    named: dict[str, str | int] = {
        name: "" if getattr(usage, name) is None else _cell(str(getattr(usage, name))) for name in USAGE_GROUPS
    }
    return {
        "tenant": usage.tenant,
        **named,
        "runs": usage.runs,
        "failed": usage.failed,
        **usage.spent.model_dump(include={"tokens", "micro_usd", "tool_calls"}),
        "seconds": usage.seconds,
    }


def as_csv(items: Iterable[Usage]) -> str:
    """Return a CSV file (RFC 4180) with `COLUMNS` as its head."""
    file = io.StringIO()
    writer = csv.DictWriter(file, COLUMNS, lineterminator="\r\n")
    writer.writeheader()
    writer.writerows(map(row, items))
    return file.getvalue()


class DayRange(NamedTuple):
    """The days of a report, in UTC, both ends included."""

    first: dt.date
    last: dt.date

    @classmethod
    def of(cls, since: dt.date | None, until: dt.date | None, *, today: dt.date) -> "DayRange":
        """Return the range, by default the last 31 days. Raises Invalid when it has no days."""
        last = until or today
        first = since or last - dt.timedelta(days=SPAN - 1)
        if first > last:
            raise Invalid(f"A report from {first} until {last} has no days: `since` comes first.", field="since")
        return cls(first, last)

    def moments(self) -> tuple[dt.datetime, dt.datetime]:
        """Return the start of the first day and the end of the last one."""
        return _midnight(self.first), _midnight(self.last + dt.timedelta(days=1))


def _midnight(day: dt.date) -> dt.datetime:
    return dt.datetime.combine(day, dt.time(), dt.UTC)


def _cell(text: str) -> str:
    """Return a name as a cell that no spreadsheet takes for a formula."""
    return f"'{text}" if text[:1] in FORMULA else text
