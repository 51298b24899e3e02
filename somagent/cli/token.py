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
    """Show who the token says you are and what it may do."""
    return api.get("/v1/principals/self")


@command(app)
def mint(
    api: Api,
    capability: Annotated[
        list[str] | None, typer.Option("--capability", "-c", help="What it may do. Without: all you may.")
    ] = None,
    seconds: Annotated[int, typer.Option("--seconds", min=1, help="How long it is valid.")] = 3600,
) -> None:
    """Mint a token: as much as yours or less, never more. Text output is the token alone."""
    made = api.post("/v1/tokens", {"seconds": seconds} | ({"capabilities": capability} if capability else {}))
    api.show(made, lambda it: [escape(it["token"])])
    if not api.json:
        output.note(f"valid until {clock(datetime.fromtimestamp(made['expires_at'], UTC))}")
