"""`somagent notify`: test the channels of notifications, and list deliveries."""

from typing import Annotated, Any

import typer
from rich.markup import escape

from somagent.cli import output
from somagent.cli.command import LimitOption, command, group
from somagent.cli.connection import Api, JsonValue
from somagent.cli.exit_codes import Code
from somagent.cli.output import clock, colored, rows

app = group("notify", "Test and list notifications.")


def _trial_line(tried: dict[str, Any]) -> str:
    return f"{tried['channel']:<8} {colored('sent' if tried['sent'] else 'not sent')} {escape(tried['said'])}"


def _row(item: dict[str, Any]) -> tuple[str, ...]:
    state, when = colored(item["state"]), clock(item["ended_at"] or item["due_at"])
    return str(item["event"]), item["channel"], state, str(item["attempts"]), when, escape(item["said"])


@command(app, "test")
def send_test(api: Api) -> None:
    """Send a test by every channel that is set and show the results."""
    trial = api.post("/v1/notifications/test")
    api.show(trial, lambda it: map(_trial_line, it["channels"]))
    if not all(tried["sent"] for tried in trial["channels"]):
        output.fail("Not every channel took the test.", code=Code.UNAVAILABLE)


@command(
    app,
    "list",
    text=rows("event", "channel", "state", "tried", "when", "said", row=_row, none="Nobody was told of anything."),
)
def list_deliveries(
    api: Api,
    state: Annotated[str, typer.Option("--state", help="waiting, sent, dead, or all.")] = "all",
    limit: LimitOption = 50,
) -> JsonValue:
    """List notifications, newest first."""
    return api.all("/v1/notifications", most=limit, state=state)
