"""`somagent approvals grant`, `grants`, `prove`, `ungrant`: standing grants, which approve actions in advance."""

from collections.abc import Iterator
from typing import Annotated, Any

import typer
from rich.markup import escape

from somagent.cli.command import LimitOption, ReasonOption, command, group
from somagent.cli.connection import Api, JsonValue
from somagent.cli.output import clock, colored, rows

PATH = "/v1/standing-grants"
app = group()
GrantArgument = Annotated[
    str, typer.Argument(metavar="ID", help="A grant's id, as `somagent approvals grants` shows it.")
]


def _row(item: dict[str, Any]) -> tuple[str, ...]:
    left = f"{item['uses_left']} of {item['uses']}"
    expires = clock(item["expires_at"])
    return item["id"], colored(item["state"]), escape(item["scope"]), left, item["granted_by"], expires


def _lines(it: dict[str, Any]) -> Iterator[str]:
    yield f"[bold]{it['id']}[/]  {colored(it['state'])}"
    yield escape(it["scope"])
    left = f"{it['uses_left']} of {it['uses']} uses left, expires {clock(it['expires_at'])}"
    yield escape(f"{left}; by {it['granted_by']} as {it['capability']}: {it['reason']}")
    yield escape(f"proved under {it['constitution']}")


@command(app, text=_lines)
def grant(  # noqa: PLR0913, PLR0917 - the command line's own options
    api: Api,
    scope: Annotated[str, typer.Argument(metavar="SCOPE", help="Which actions: a CEL expression over `action`.")],
    reason: ReasonOption,
    uses: Annotated[int, typer.Option("--uses", min=1, help="Number of actions that it approves.")] = 1,
    lasting: Annotated[str, typer.Option("--for", help="How long it is valid: 90s, 10m, 2h, 7d.")] = "1d",
    capability: Annotated[
        str, typer.Option("--capability", help="Capability that you approve with; you must hold it.")
    ] = "approval:decide",
) -> JsonValue:
    """Approve a number of actions of a scope in advance. It must be proved that the constitution permits the scope."""
    body = {"scope": scope, "uses": uses, "expires_seconds": lasting, "capability": capability, "reason": reason}
    return api.post(PATH, body)


@command(app, text=rows("id", "state", "scope", "left", "by", "expires", row=_row, none="No standing grants."))
def grants(
    api: Api,
    state: Annotated[str, typer.Option("--state", help="open, 'used up', expired, revoked, or all.")] = "open",
    limit: LimitOption = 50,
) -> JsonValue:
    """List standing grants, newest first."""
    return api.all(PATH, most=limit, state=state)


@command(app, text=_lines)
def prove(api: Api, grant: GrantArgument) -> JsonValue:
    """Prove your grant's scope again, under the constitution in force. The grant counts only under that one."""
    return api.post(f"{PATH}/{grant}/prove")


@command(app, text=_lines)
def ungrant(api: Api, grant: GrantArgument) -> JsonValue:
    """Revoke a standing grant. Actions that began under it continue; no other one begins."""
    api.delete(f"{PATH}/{grant}")
    return api.get(f"{PATH}/{grant}")
