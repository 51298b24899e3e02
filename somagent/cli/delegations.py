"""Commands `somagent approvals delegate`, `delegations` and `revoke`: delegations of a capability for approvals."""

from collections.abc import Iterator
from typing import Annotated, Any

from rich.markup import escape
from typer import Argument, Option

from somagent.cli.command import LimitOption, ReasonOption, command, group
from somagent.cli.connection import Api, JsonValue
from somagent.cli.output import color, local_time, table

PATH = "/v1/delegations"
app = group()


def _row(item: dict[str, Any]) -> tuple[str, ...]:
    names = item["delegator"], item["delegate"]
    return item["id"], color(item["state"]), item["capability"], *names, local_time(item["ends_at"])


def _lines(it: dict[str, Any]) -> Iterator[str]:
    yield f"[bold]{it['id']}[/]  {color(it['state'])}"
    times = f"from {local_time(it['starts_at'])} until {local_time(it['ends_at'])}"
    yield escape(f"{it['delegator']} lends {it['capability']} to {it['delegate']} {times}")
    if it["revoked_by"]:
        yield escape(f"revoked by {it['revoked_by']} {local_time(it['revoked_at'])}")


@command(app, text=_lines)
def delegate(  # noqa: PLR0913, PLR0917 - the command line's own options
    api: Api,
    capability: Annotated[
        str, Argument(metavar="CAPABILITY", help="The capability to lend, such as approval:decide. You must hold it.")
    ],
    to: Annotated[str, Argument(metavar="NAME", help="The principal who can use it in your name.")],
    lasting: Annotated[str, Option("--for", metavar="TIME", help="Duration, such as 90s, 8h, 3d; at most 90d.")] = "1d",
    starts: Annotated[
        str | None, Option("--from", metavar="TIME", help="Start, such as 2026-12-24T00:00:00Z. Unset: now.")
    ] = None,
    reason: ReasonOption = "",
) -> JsonValue:
    """Lend a capability for a limited time, for approvals. It cannot be lent again or used for your own runs."""
    body = {"capability": capability, "to": to, "seconds": lasting, "reason": reason, "starts_at": starts}
    return api.post(PATH, body)


@command(
    app, text=table("id", "state", "capability", "from", "to", "until", row=_row, none="There are no delegations.")
)
def delegations(
    api: Api,
    of: Annotated[str | None, Option(metavar="NAME", help="Only those from or to this principal.")] = None,
    limit: LimitOption = 50,
) -> JsonValue:
    """List delegations, newest first."""
    return api.list_items(PATH, most=limit, of=of)


@command(app, text=_lines)
def revoke(
    api: Api,
    delegation: Annotated[str, Argument(metavar="ID", help="Id of a delegation: see `approvals delegations`.")],
) -> JsonValue:
    """Revoke a delegation from or to you. Decisions made with it stay."""
    return api.delete(f"{PATH}/{delegation}")
