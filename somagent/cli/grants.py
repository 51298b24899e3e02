"""`somagent approvals grant`, `grants`, `prove`, `ungrant`: a yes in advance, and taking it back."""

from typing import Annotated, Any

import typer
from rich.markup import escape

from somagent.cli import output
from somagent.cli.connection import Api
from somagent.cli.formatting import clock, colored, table
from somagent.cli.options import As, Json, Limit

PATH = "/v1/standing-grants"
Id = Annotated[str, typer.Argument(metavar="ID", help="A grant's id, as `somagent approvals grants` shows it.")]
Reason = Annotated[str, typer.Option("--reason", help="Why, for the record.")]
State = Annotated[str, typer.Option("--state", help="open, 'used up', expired, revoked, or all.")]


def register(to: typer.Typer) -> None:
    to.command()(grant)
    to.command()(grants)
    to.command()(prove)
    to.command()(ungrant)


def grant(  # noqa: PLR0913, PLR0917 - the command line's own options
    scope: Annotated[str, typer.Argument(metavar="SCOPE", help="Which actions: a CEL expression over `action`.")],
    reason: Reason,
    uses: Annotated[int, typer.Option("--uses", min=1, help="How many actions it lets begin.")] = 1,
    lasting: Annotated[str, typer.Option("--for", help="How long it holds: 90s, 10m, 2h, 7d.")] = "1d",
    capability: Annotated[
        str, typer.Option("--capability", help="In which capacity you approve; you must hold it.")
    ] = "approval:decide",
    principal: As = None,
    json: Json = False,
) -> None:
    """Approve so many actions of a scope in advance. The scope must be proved to lie within the constitution."""
    asked = {"scope": scope, "uses": uses, "expires_seconds": lasting, "capability": capability, "reason": reason}
    with Api(principal=principal, json=json) as api:
        _show(api.post(PATH, asked), json=json)


def grants(state: State = "open", limit: Limit = 50, principal: As = None, json: Json = False) -> None:
    """List standing grants, newest first."""
    with Api(principal=principal, json=json) as api:
        items = api.all(PATH, most=limit, state=None if state == "all" else state)
    if json:
        output.emit(items)
        return
    shown = table("id", "state", "scope", "left", "by", "expires")
    for item in items:
        left = f"{item['uses_left']} of {item['uses']}"
        shown.add_row(
            item["id"],
            colored(item["state"]),
            escape(item["scope"]),
            left,
            item["granted_by"],
            clock(item["expires_at"]),
        )
    output.console().print(shown if items else "No standing grants.")


def prove(grant: Id, principal: As = None, json: Json = False) -> None:
    """Prove your grant's scope again, under the constitution now in force. It counts only there."""
    with Api(principal=principal, json=json) as api:
        _show(api.post(f"{PATH}/{grant}/prove"), json=json)


def ungrant(grant: Id, principal: As = None, json: Json = False) -> None:
    """Take a standing grant back. What began under it goes on; nothing else begins."""
    with Api(principal=principal, json=json) as api:
        api.delete(f"{PATH}/{grant}")
        _show(api.get(f"{PATH}/{grant}"), json=json)


def _show(grant: dict[str, Any], *, json: bool) -> None:
    if json:
        output.emit(grant)
        return
    console = output.console()
    console.print(f"[bold]{grant['id']}[/]  {colored(grant['state'])}")
    console.print(grant["scope"], markup=False, soft_wrap=True)
    left = f"{grant['uses_left']} of {grant['uses']} uses left, expires {clock(grant['expires_at'])}"
    console.print(f"{left}; by {grant['granted_by']} as {grant['capability']}: {grant['reason']}", markup=False)
    console.print(f"proved under {grant['constitution']}", markup=False, soft_wrap=True)
