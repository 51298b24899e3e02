"""Commands `somagent token`: the principal of the token, new tokens, and the token families of the tenant."""

from datetime import UTC, datetime
from typing import Annotated, Any

from rich.markup import escape
from typer import Argument, Option

from somagent.cli import output
from somagent.cli.command import LimitOption, command, group
from somagent.cli.connection import Api, JsonValue
from somagent.cli.key import OfOption, limits, state_lines
from somagent.cli.output import color, local_time, table

PATH = "/v1/tokens"
app = group("token", "Show the principal of the token, mint tokens, list and revoke token families.")


def _row(item: dict[str, Any]) -> tuple[str, ...]:
    ends = item["revoked_at"] or item["expires_at"]
    names = item["subject"], escape(item["client"])
    return item["id"], *names, color(item["state"]), limits(item), local_time(item["renewed_at"]), local_time(ends)


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
    seconds: Annotated[int, Option(min=1, max=900, metavar="N", help="How many seconds it is valid.")] = 900,
    refresh: Annotated[
        bool, Option("--refresh", help="Open a token family: --json shows the refresh token beside the access token.")
    ] = False,
    client: Annotated[str, Option(metavar="TEXT", help="What the tokens are for, to be shown in lists.")] = "cli",
) -> None:
    """Mint a token with at most your capabilities. Without --json only the token is written."""
    body = {"seconds": seconds, "capabilities": capability or None, "refresh": refresh, "client": client}
    token = api.post(PATH, body)
    api.show(token, lambda it: [escape(it["token"])])
    if not api.json:
        output.note(f"valid until {local_time(datetime.fromtimestamp(token['expires_at'], UTC))}")


@command(
    app,
    "list",
    text=table(
        "family",
        "principal",
        "client",
        "state",
        "may",
        "renewed",
        "ends",
        row=_row,
        none="There are no token families.",
    ),
)
def list_families(api: Api, of: OfOption = None, limit: LimitOption = 50) -> JsonValue:
    """List token families, newest first: who signed in, with what, and until when."""
    return api.list_items(PATH, most=limit, of=of)


@command(app, text=state_lines)
def revoke(
    api: Api, family: Annotated[str, Argument(metavar="ID", help="Id of a token family: see `somagent token list`.")]
) -> JsonValue:
    """Revoke a token family, with all its tokens and all families opened from it."""
    return api.delete(f"{PATH}/{family}")
