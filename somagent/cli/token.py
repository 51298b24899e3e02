"""`somagent token`: the principal of the token, and a narrower or shorter token for another use."""

from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.markup import escape

from somagent.cli import output
from somagent.cli.command import command, group
from somagent.cli.connection import Api, JsonValue
from somagent.cli.output import clock

app = group("token", "Show and mint tokens.")


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
        list[str] | None, typer.Option("--capability", "-c", help="A capability of the token. Unset: all of yours.")
    ] = None,
    seconds: Annotated[int, typer.Option("--seconds", min=1, help="How long it is valid.")] = 3600,
) -> None:
    """Mint a token with at most the capabilities of yours. Text output is the token alone."""
    made = api.post("/v1/tokens", {"seconds": seconds} | ({"capabilities": capability} if capability else {}))
    api.show(made, lambda it: [escape(it["token"])])
    if not api.json:
        output.note(f"valid until {clock(datetime.fromtimestamp(made['expires_at'], UTC))}")
