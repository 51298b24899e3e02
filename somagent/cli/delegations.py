"""`somagent approvals delegate`, `delegations`, `revoke`: one's own right to decide, lent for a time."""

from typing import Annotated, Any

import typer

from somagent.cli import output
from somagent.cli.connection import Api
from somagent.cli.formatting import clock, table
from somagent.cli.options import As, Json, Limit, Reason

COLORS = {"open": "green", "coming": "cyan", "ended": "dim", "revoked": "yellow"}


def register(group: typer.Typer) -> None:
    group.command()(delegate)
    group.command()(delegations)
    group.command()(revoke)


def delegate(  # noqa: PLR0913, PLR0917 - the command line's own options
    capability: Annotated[
        str, typer.Argument(metavar="CAPABILITY", help="What you lend, such as approval:decide. You must hold it.")
    ],
    to: Annotated[str, typer.Argument(metavar="NAME", help="The principal who may use it in your name.")],
    lasting: Annotated[str, typer.Option("--for", help="How long: 90s, 30m, 8h, 3d; at most 90 days.")] = "1d",
    starts: Annotated[
        str | None, typer.Option("--from", metavar="TIME", help="From when on, such as 2026-12-24T00:00:00Z. Now.")
    ] = None,
    reason: Reason = "",
    principal: As = None,
    json: Json = False,
) -> None:
    """Lend a capability for a time, for approvals. It cannot be lent on, nor used for what you asked for yourself."""
    body = {"capability": capability, "to": to, "seconds": lasting, "reason": reason}
    body |= {"starts_at": starts} if starts else {}
    with Api(principal=principal, json=json) as api:
        _show(api.post("/v1/delegations", body), json=json)


def delegations(
    of: Annotated[
        str | None, typer.Option("--of", metavar="NAME", help="Only those this principal gave or got.")
    ] = None,
    limit: Limit = 50,
    principal: As = None,
    json: Json = False,
) -> None:
    """List delegations, newest first."""
    with Api(principal=principal, json=json) as api:
        items = api.all("/v1/delegations", most=limit, of=of)
    if json:
        output.emit(items)
        return
    shown = table("id", "state", "capability", "from", "to", "until")
    for item in items:
        state = f"[{COLORS[item['state']]}]{item['state']}[/]"
        shown.add_row(
            item["id"], state, item["capability"], item["delegator"], item["delegate"], clock(item["ends_at"])
        )
    output.console().print(shown if items else "Nobody has lent anything.")


def revoke(
    delegation: Annotated[
        str, typer.Argument(metavar="ID", help="A delegation's id, as `somagent approvals delegations` shows it.")
    ],
    principal: As = None,
    json: Json = False,
) -> None:
    """Take a delegation back, or give it back. What was decided by it stays decided."""
    with Api(principal=principal, json=json) as api:
        _show(api.delete(f"/v1/delegations/{delegation}"), json=json)


def _show(delegation: dict[str, Any], *, json: bool) -> None:
    if json:
        output.emit(delegation)
        return
    console = output.console()
    state = delegation["state"]
    console.print(f"[bold]{delegation['id']}[/]  [{COLORS[state]}]{state}[/]")
    lent = f"{delegation['delegator']} lends {delegation['capability']} to {delegation['delegate']}"
    until = f"from {clock(delegation['starts_at'])} until {clock(delegation['ends_at'])}"
    console.print(f"{lent} {until}", markup=False, soft_wrap=True)
    if delegation["revoked_by"]:
        ended = f"revoked by {delegation['revoked_by']} {clock(delegation['revoked_at'])}"
        console.print(ended, markup=False, soft_wrap=True)
