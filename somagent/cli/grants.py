"""Commands `somagent approvals grant`, `grants`, `prove` and `ungrant`: standing grants."""

from collections.abc import Iterator
from typing import Annotated, Any

from rich.markup import escape
from typer import Argument, Option

from somagent.cli.command import LimitOption, ReasonOption, command, group
from somagent.cli.connection import Api, JsonValue
from somagent.cli.output import color, local_time, table

PATH = "/v1/standing-grants"
app = group()
GrantArgument = Annotated[str, Argument(metavar="ID", help="Id of a grant: see `somagent approvals grants`.")]


def _row(item: dict[str, Any]) -> tuple[str, ...]:
    left = f"{item['uses_left']} of {item['uses']}"
    expires = local_time(item["expires_at"])
    return item["id"], color(item["state"]), escape(item["scope"]), left, item["granted_by"], expires


def _lines(it: dict[str, Any]) -> Iterator[str]:
    yield f"[bold]{it['id']}[/]  {color(it['state'])}"
    yield escape(it["scope"])
    left = f"{it['uses_left']} of {it['uses']} uses left, expires {local_time(it['expires_at'])}"
    yield escape(f"{left}; by {it['granted_by']} as {it['capability']}: {it['reason']}")
    yield escape(f"proved under {it['constitution']}")


@command(app, text=_lines)
def grant(  # noqa: PLR0913, PLR0917 - the command line's own options
    api: Api,
    scope: Annotated[str, Argument(metavar="SCOPE", help="The actions to approve: a CEL expression over `action`.")],
    reason: ReasonOption,
    uses: Annotated[int, Option(metavar="N", min=1, help="Number of actions to approve.")] = 1,
    lasting: Annotated[str, Option("--for", metavar="TIME", help="Validity, such as 90s, 10m, 2h, 7d.")] = "1d",
    capability: Annotated[str, Option(help="Capability to approve with. You must hold it.")] = "approval:decide",
) -> JsonValue:
    """Approve a number of actions in advance. It must be proved that the constitution permits their scope."""
    body = {"scope": scope, "uses": uses, "expires_seconds": lasting, "capability": capability, "reason": reason}
    return api.post(PATH, body)


@command(
    app, text=table("id", "state", "scope", "left", "by", "expires", row=_row, none="There are no standing grants.")
)
def grants(
    api: Api,
    state: Annotated[str, Option(help="open, 'used up', expired, revoked, or all.")] = "open",
    limit: LimitOption = 50,
) -> JsonValue:
    """List standing grants, newest first."""
    return api.list_items(PATH, most=limit, state=state)


@command(app, text=_lines)
def prove(api: Api, grant: GrantArgument) -> JsonValue:
    """Prove your grant's scope again under the active constitution. Then the grant counts under that one only."""
    return api.post(f"{PATH}/{grant}/prove")


@command(app, text=_lines)
def ungrant(api: Api, grant: GrantArgument) -> JsonValue:
    """Revoke a standing grant. Actions that began under it continue."""
    api.delete(f"{PATH}/{grant}")
    return api.get(f"{PATH}/{grant}")
