"""Commands `somagent token`: the principal of the token, and tokens with fewer capabilities or a shorter life."""

from datetime import UTC, datetime
from typing import Annotated

from rich.markup import escape
from typer import Option

from somagent.cli import output
from somagent.cli.command import command, group
from somagent.cli.connection import Api, JsonValue
from somagent.cli.output import local_time

app = group("token", "Show the principal of the token, and mint tokens.")


@command(
    app,
    text=lambda it: [
        f"[bold]{it['subject']}[/] of tenant {it['tenant']}",
        escape(", ".join(sorted(it["capabilities"]))),
    ],
)
def show(api: Api) -> JsonValue:
    """Show the principal of the token and its capabilities."""
    return api.get("/v1/principals/self")


@command(app)
def mint(
    api: Api,
    capability: Annotated[
        list[str] | None,
        Option(
            "--capability", "-c", metavar="NAME", help="Capability of the new token. Repeatable. Unset: all of yours."
        ),
    ] = None,
    seconds: Annotated[int, Option(min=1, metavar="N", help="How many seconds it is valid.")] = 3600,
) -> None:
    """Mint a token with at most your capabilities. Without --json only the token is written."""
    token = api.post("/v1/tokens", {"seconds": seconds, "capabilities": capability or None})
    api.show(token, lambda it: [escape(it["token"])])
    if not api.json:
        output.note(f"valid until {local_time(datetime.fromtimestamp(token['expires_at'], UTC))}")
