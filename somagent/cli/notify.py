"""Commands `somagent notify`: test the channels of notifications, and list deliveries."""

from typing import Annotated, Any

from rich.markup import escape
from typer import Option

from somagent.cli import output
from somagent.cli.command import LimitOption, command, group
from somagent.cli.connection import Api, JsonValue
from somagent.cli.exit_codes import Code
from somagent.cli.output import color, local_time, table

app = group("notify", "Test the channels of notifications, and list deliveries.")


def _channel_line(result: dict[str, Any]) -> str:
    return f"{result['channel']:<8} {color('sent' if result['sent'] else 'not sent')} {escape(result['said'])}"


def _row(item: dict[str, Any]) -> tuple[str, ...]:
    state, when = color(item["state"]), local_time(item["ended_at"] or item["due_at"])
    return str(item["event"]), item["channel"], state, str(item["attempts"]), when, escape(item["said"])


@command(app, "test")
def send_test(api: Api) -> None:
    """Send a test notification on every configured channel and show the results."""
    results = api.post("/v1/notifications/test")
    api.show(results, lambda it: map(_channel_line, it["channels"]))
    if not all(channel["sent"] for channel in results["channels"]):
        output.fail("Not every channel accepted the test.", code=Code.UNAVAILABLE)


@command(
    app,
    "list",
    text=table("event", "channel", "state", "tried", "when", "said", row=_row, none="No deliveries."),
)
def list_deliveries(
    api: Api, state: Annotated[str, Option(help="waiting, sent, dead, or all.")] = "all", limit: LimitOption = 50
) -> JsonValue:
    """List the deliveries of notifications, newest first."""
    return api.list_items("/v1/notifications", most=limit, state=state)
