"""`somagent retention`: how long content is kept, and legal holds."""

from typing import Annotated, Any

import typer

from somagent.cli import output
from somagent.cli.connection import Api
from somagent.cli.exit_codes import Code
from somagent.cli.formatting import clock, table
from somagent.cli.options import As, Json

app = typer.Typer(no_args_is_help=True, help="Say how long content is kept, and hold what must not be deleted.")
HoldId = Annotated[str, typer.Argument(metavar="HOLD", help="A hold's id, as `somagent retention holds` shows it.")]
Days = Annotated[str | None, typer.Option(metavar="DAYS", help="Days, or `forever`. Unset: as it is.")]


def register(to: typer.Typer) -> None:
    to.add_typer(app, name="retention")


@app.command()
def show(principal: As = None, json: Json = False) -> None:
    """Show how long content is kept, and what would be deleted now."""
    with Api(principal=principal, json=json) as api:
        _show(api.get("/v1/retention"), json=json)


@app.command("set")
def set_retention(
    content_days: Days = None, memory_days: Days = None, principal: As = None, json: Json = False
) -> None:
    """Say how long content is kept. Receipts, ledger, approvals and audit stay. Who runs cannot: --as approver."""
    if content_days is None and memory_days is None:
        output.fail("Say what to keep how long: --content-days or --memory-days.", code=Code.USAGE)
    with Api(principal=principal, json=json) as api:
        terms = api.get("/v1/retention")["terms"]
        for name, given in (("content_days", content_days), ("memory_days", memory_days)):
            if given is not None:
                terms[name] = _days(given)
        _show(api.put("/v1/retention", terms), json=json)


@app.command()
def holds(principal: As = None, json: Json = False) -> None:
    """List legal holds, those that stand first."""
    with Api(principal=principal, json=json) as api:
        items = api.get("/v1/retention/holds")["items"]
    if json:
        output.emit(items)
        return
    shown = table("hold", "covers", "why", "placed", "lifted")
    for item in items:
        lifted = f"{clock(item['lifted_at'])} by {item['lifted_by']}" if item["lifted_at"] else ""
        placed = f"{clock(item['placed_at'])} by {item['placed_by']}"
        shown.add_row(item["id"], item["scope"], item["reason"], placed, lifted)
    output.console().print(shown)


@app.command()
def hold(
    scope: Annotated[str, typer.Argument(metavar="SCOPE", help="tenant, capsule:NAME, or run:ID.")],
    reason: Annotated[str, typer.Option("--reason", help="Why, such as the number of a case.")],
    principal: As = None,
    json: Json = False,
) -> None:
    """Keep content until the hold is lifted. Who runs cannot: --as approver."""
    with Api(principal=principal, json=json) as api:
        placed = api.post("/v1/retention/holds", {"scope": scope, "reason": reason})
    if json:
        output.emit(placed)
    else:
        output.console().print(f"{placed['id']} holds {placed['scope']}.", soft_wrap=True)


@app.command()
def lift(hold_id: HoldId, principal: As = None, json: Json = False) -> None:
    """Lift a hold: what is due by then is deleted at the next pruning."""
    with Api(principal=principal, json=json) as api:
        lifted = api.delete(f"/v1/retention/holds/{hold_id}")
    if json:
        output.emit(lifted)
    else:
        output.console().print(f"{hold_id} is lifted.")


def _days(text: str) -> int | None:
    if text == "forever":
        return None
    if not text.isdecimal():
        output.fail(f"{text!r} is neither a number of days nor `forever`.", code=Code.USAGE)
    return int(text)


def _show(found: dict[str, Any], *, json: bool) -> None:
    if json:
        output.emit(found)
        return
    for name, what in (("content_days", "content of runs"), ("memory_days", "memories")):
        days = found["terms"][name]
        output.console().print(f"{what:<16} {'for ever' if days is None else f'{days:,} days'}")
    due = found["due"]
    output.console().print(
        f"due now          {due['runs']:,} runs, {due['blobs']:,} blobs, {due['memories']:,} memories"
    )
