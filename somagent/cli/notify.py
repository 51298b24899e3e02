"""`somagent notify`: whether people hear of what waits for them."""

from typing import Annotated

import typer
from rich.markup import escape

from somagent.cli import output
from somagent.cli.connection import Api
from somagent.cli.exit_codes import Code
from somagent.cli.formatting import clock, colored, table
from somagent.cli.options import As, Json, Limit

app = typer.Typer(no_args_is_help=True, help="Test and list notifications.")
State = Annotated[str, typer.Option("--state", help="waiting, sent, dead, or all.")]


def register(to: typer.Typer) -> None:
    to.add_typer(app, name="notify")


@app.command("test")
def send_test(principal: As = None, json: Json = False) -> None:
    """Send a test by every channel that is set and say what came of it."""
    with Api(principal=principal, json=json) as api:
        trial = api.post("/v1/notifications/test")
    if json:
        output.emit(trial)
    else:
        for tried in trial["channels"]:
            word = "[green]sent[/]" if tried["sent"] else "[red]not sent[/]"
            output.console().print(f"{tried['channel']:<8} {word}", end=" ")
            output.console().print(tried["said"], markup=False, soft_wrap=True)
    if not all(tried["sent"] for tried in trial["channels"]):
        output.fail("Not every channel took the test.", code=Code.UNAVAILABLE)


@app.command("list")
def list_deliveries(state: State = "all", limit: Limit = 50, principal: As = None, json: Json = False) -> None:
    """List what people were told, newest first."""
    with Api(principal=principal, json=json) as api:
        items = api.all("/v1/notifications", most=limit, state=None if state == "all" else state)
    if json:
        output.emit(items)
        return
    shown = table("event", "channel", "state", "tried", "when", "said")
    for item in items:
        when = clock(item["ended_at"] or item["due_at"])
        shown.add_row(
            str(item["event"]),
            item["channel"],
            colored(item["state"]),
            str(item["attempts"]),
            when,
            escape(item["said"]),
        )
    output.console().print(shown if items else "Nobody was told of anything.")
