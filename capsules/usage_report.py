"""Usage reports: what was spent, by project, capsule, persona, model and day. Whole numbers, each run counted once."""

import datetime as dt
from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

from capsules.amounts import Amounts

Dimension = Literal["project", "capsule", "persona", "model", "day"]
DIMENSIONS: tuple[Dimension, ...] = get_args(Dimension)


class Usage(BaseModel):
    """What runs of one group spent themselves: what a child spent is the child's."""

    model_config = ConfigDict(frozen=True)

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


FORMULA = frozenset("=+-@\t\r")
COLUMNS = ("tenant", *DIMENSIONS, "runs", "failed", "tokens", "micro_usd", "tool_calls", "seconds")


def row(usage: Usage) -> dict[str, str | int]:
    """Return a flat row for a table or a CSV file, in the order of `COLUMNS`."""
    named: dict[str, str | int] = {
        name: "" if getattr(usage, name) is None else _cell(str(getattr(usage, name))) for name in DIMENSIONS
    }
    return {
        "tenant": usage.tenant,
        **named,
        "runs": usage.runs,
        "failed": usage.failed,
        **usage.spent.model_dump(include={"tokens", "micro_usd", "tool_calls"}),
        "seconds": usage.seconds,
    }


def _cell(text: str) -> str:
    """Return a name as a cell that no spreadsheet takes for a formula."""
    return f"'{text}" if text[:1] in FORMULA else text
