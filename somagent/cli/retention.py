"""Commands `somagent retention`: how long content is kept, and legal holds."""

from typing import Annotated, Any

from typer import Argument, Option

from somagent.cli import output
from somagent.cli.command import command, group
from somagent.cli.connection import Api, JsonValue
from somagent.cli.exit_codes import Code
from somagent.cli.output import Lines, local_time, table

PATH = "/v1/retention"
app = group("retention", "Show and set how long content is kept; place and lift legal holds.")
DaysOption = Annotated[str | None, Option(metavar="DAYS", help="Number of days, or `forever`. Unset: no change.")]


def _lines(found: dict[str, Any]) -> Lines:
    for name, what in (("content_days", "content of runs"), ("memory_days", "memories")):
        days = found["terms"][name]
        yield f"{what:<16} {'for ever' if days is None else f'{days:,} days'}"
    due = found["due"]
    yield f"due now          {due['runs']:,} runs, {due['blobs']:,} blobs, {due['memories']:,} memories"


def _row(item: dict[str, Any]) -> tuple[str, ...]:
    lifted = f"{local_time(item['lifted_at'])} by {item['lifted_by']}" if item["lifted_at"] else ""
    return item["id"], item["scope"], item["reason"], f"{local_time(item['placed_at'])} by {item['placed_by']}", lifted


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
        output.fail("Give --content-days or --memory-days.", code=Code.USAGE)
    return api.put(PATH, api.get(PATH)["terms"] | changes)


@command(app, text=table("hold", "covers", "why", "placed", "lifted", row=_row))
def holds(api: Api) -> JsonValue:
    """List legal holds, those in force first."""
    return api.get(f"{PATH}/holds")["items"]


@command(app, text=lambda it: [f"{it['id']} holds {it['scope']}."])
def hold(
    api: Api,
    scope: Annotated[str, Argument(metavar="SCOPE", help="What to hold: tenant, capsule:NAME or run:ID.")],
    reason: Annotated[str, Option(help="Reason to record, such as the number of a case.")],
) -> JsonValue:
    """Place a legal hold: keep content until it is lifted. Requires the approver: --as approver."""
    return api.post(f"{PATH}/holds", {"scope": scope, "reason": reason})


@command(app)
def lift(
    api: Api, hold_id: Annotated[str, Argument(metavar="HOLD", help="Id of a hold: see `somagent retention holds`.")]
) -> None:
    """Lift a legal hold. Content that is older than its terms is deleted at the next pruning."""
    api.show(api.delete(f"{PATH}/holds/{hold_id}"), lambda _: [f"{hold_id} is lifted."])


def _days(text: str) -> int | None:
    """Return a number of days, or None for `forever`. Ends the command for any other text."""
    if text == "forever":
        return None
    if not text.isdecimal():
        output.fail(f"{text!r} is neither a number of days nor `forever`.", code=Code.USAGE)
    return int(text)
