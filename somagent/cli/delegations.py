"""`somagent approvals delegate`, `delegations`, `revoke`: lend one's own capability for a time, for approvals."""

from collections.abc import Iterator
from typing import Annotated, Any

import typer
from rich.markup import escape

from somagent.cli.command import LimitOption, ReasonOption, command, group
from somagent.cli.connection import Api, JsonValue
from somagent.cli.output import clock, colored, rows

PATH = "/v1/delegations"
app = group()


def _row(item: dict[str, Any]) -> tuple[str, ...]:
    people = item["delegator"], item["delegate"]
    return item["id"], colored(item["state"]), item["capability"], *people, clock(item["ends_at"])


def _lines(it: dict[str, Any]) -> Iterator[str]:
    yield f"[bold]{it['id']}[/]  {colored(it['state'])}"
    times = f"from {clock(it['starts_at'])} until {clock(it['ends_at'])}"
    yield escape(f"{it['delegator']} lends {it['capability']} to {it['delegate']} {times}")
    if it["revoked_by"]:
        yield escape(f"revoked by {it['revoked_by']} {clock(it['revoked_at'])}")


@command(app, text=_lines)
def delegate(  # noqa: PLR0913, PLR0917 - the command line's own options
    api: Api,
    capability: Annotated[
        str, typer.Argument(metavar="CAPABILITY", help="What you lend, such as approval:decide. You must hold it.")
    ],
    to: Annotated[str, typer.Argument(metavar="NAME", help="The principal who may use it in your name.")],
    lasting: Annotated[str, typer.Option("--for", help="How long: 90s, 30m, 8h, 3d; at most 90 days.")] = "1d",
    starts: Annotated[
        str | None, typer.Option("--from", metavar="TIME", help="Start, such as 2026-12-24T00:00:00Z. Unset: now.")
    ] = None,
    reason: ReasonOption = "",
) -> JsonValue:
    """Lend a capability for a time, for approvals. It cannot be lent again, nor used for your own requests."""
    body = {"capability": capability, "to": to, "seconds": lasting, "reason": reason}
    return api.post(PATH, body | ({"starts_at": starts} if starts else {}))


@command(app, text=rows("id", "state", "capability", "from", "to", "until", row=_row, none="Nobody has lent anything."))
def delegations(
    api: Api,
    of: Annotated[
        str | None, typer.Option("--of", metavar="NAME", help="Only delegations that this principal gave or got.")
    ] = None,
    limit: LimitOption = 50,
) -> JsonValue:
    """List delegations, newest first."""
    return api.all(PATH, most=limit, of=of)


@command(app, text=_lines)
def revoke(
    api: Api,
    delegation: Annotated[
        str, typer.Argument(metavar="ID", help="A delegation's id, as `somagent approvals delegations` shows it.")
    ],
) -> JsonValue:
    """Revoke a delegation that you gave or got. Decisions made by it stay."""
    return api.delete(f"{PATH}/{delegation}")
