"""`somagent retention`: how long content is kept, and legal holds."""

from typing import Annotated, Any

import typer

from somagent.cli import output
from somagent.cli.command import command, group
from somagent.cli.connection import Api, JsonValue
from somagent.cli.exit_codes import Code
from somagent.cli.output import Lines, clock, rows

PATH = "/v1/retention"
app = group("retention", "Say how long content is kept, and hold what must not be deleted.")
DaysOption = Annotated[str | None, typer.Option(metavar="DAYS", help="Days, or `forever`. Unset: no change.")]


def _lines(found: dict[str, Any]) -> Lines:
    for name, what in (("content_days", "content of runs"), ("memory_days", "memories")):
        days = found["terms"][name]
        yield f"{what:<16} {'for ever' if days is None else f'{days:,} days'}"
    due = found["due"]
    yield f"due now          {due['runs']:,} runs, {due['blobs']:,} blobs, {due['memories']:,} memories"


def _row(item: dict[str, Any]) -> tuple[str, ...]:
    lifted = f"{clock(item['lifted_at'])} by {item['lifted_by']}" if item["lifted_at"] else ""
    return item["id"], item["scope"], item["reason"], f"{clock(item['placed_at'])} by {item['placed_by']}", lifted


@command(app, text=_lines)
def show(api: Api) -> JsonValue:
    """Show how long content is kept, and what would be deleted now."""
    return api.get(PATH)


@command(app, "set", text=_lines)
def set_retention(api: Api, content_days: DaysOption = None, memory_days: DaysOption = None) -> JsonValue:
    """Set how long content is kept. Records are always kept. Requires the approver: --as approver."""
    given = {"content_days": content_days, "memory_days": memory_days}
    changes = {name: _days(text) for name, text in given.items() if text is not None}
    if not changes:
        output.fail("Say what to keep how long: --content-days or --memory-days.", code=Code.USAGE)
    return api.put(PATH, api.get(PATH)["terms"] | changes)


@command(app, text=rows("hold", "covers", "why", "placed", "lifted", row=_row))
def holds(api: Api) -> JsonValue:
    """List legal holds, those in force first."""
    return api.get(f"{PATH}/holds")["items"]


@command(app, text=lambda it: [f"{it['id']} holds {it['scope']}."])
def hold(
    api: Api,
    scope: Annotated[str, typer.Argument(metavar="SCOPE", help="tenant, capsule:NAME, or run:ID.")],
    reason: Annotated[str, typer.Option("--reason", help="Reason, such as the number of a case.")],
) -> JsonValue:
    """Keep content until the hold is lifted. Requires the approver: --as approver."""
    return api.post(f"{PATH}/holds", {"scope": scope, "reason": reason})


@command(app)
def lift(
    api: Api,
    hold_id: Annotated[
        str, typer.Argument(metavar="HOLD", help="A hold's id, as `somagent retention holds` shows it.")
    ],
) -> None:
    """Lift a hold. Content whose time is over is deleted at the next pruning."""
    api.show(api.delete(f"{PATH}/holds/{hold_id}"), lambda _: [f"{hold_id} is lifted."])


def _days(text: str) -> int | None:
    """Return a number of days, or None for `forever`; end the command for anything else."""
    if text == "forever":
        return None
    if not text.isdecimal():
        output.fail(f"{text!r} is neither a number of days nor `forever`.", code=Code.USAGE)
    return int(text)
