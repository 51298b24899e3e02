"""`somagent approvals`, `approve`, `deny`: what waits for a person, and the answer."""

from typing import Annotated, Any

import typer

from somagent.cli import output
from somagent.cli.connection import Api
from somagent.cli.options import As, Json, Limit
from somagent.cli.words import clock, colored, table

app = typer.Typer(no_args_is_help=True, help="List and show what waits, or waited, for a person.")
Id = Annotated[str, typer.Argument(metavar="ID", help="An approval's id, as `somagent approvals list` shows it.")]
Comment = Annotated[str, typer.Option("--comment", help="Why, for the record.")]
State = Annotated[str, typer.Option("--state", help="pending, approved, denied, expired, used, or all.")]
OfRun = Annotated[str | None, typer.Option("--run", help="Only those of this run.")]


def register(to: typer.Typer) -> None:
    to.add_typer(app, name="approvals")
    to.command()(approve)
    to.command()(deny)


@app.command("list")
def list_approvals(
    state: State = "pending", run: OfRun = None, limit: Limit = 50, principal: As = None, json: Json = False
) -> None:
    """List approvals, newest first."""
    with Api(principal=principal, json=json) as api:
        items = api.all("/v1/approvals", most=limit, state=None if state == "all" else state, run=run)
    if json:
        output.emit(items)
        return
    shown = table("id", "state", "what", "run", "expires")
    for item in items:
        what = f"{item['kind']} {item['target']}"
        shown.add_row(item["id"], colored(item["state"]), what, item["run"], clock(item["expires_at"]))
    output.console().print(shown if items else "Nothing waits for a person.")


@app.command()
def show(approval: Id, principal: As = None, json: Json = False) -> None:
    """Show what is asked, of whom, and how it was decided."""
    with Api(principal=principal, json=json) as api:
        _show(api.get(f"/v1/approvals/{approval}"), json=json)


@app.command()
def attest(
    approval: Id,
    no: Annotated[bool, typer.Option("--no", help="Attest a no instead of a yes.")] = False,
    comment: Comment = "",
    principal: As = None,
) -> None:
    """Write the JSON that `temporal workflow signal --name approve --input` takes. It holds for five minutes."""
    with Api(principal=principal, json=True) as api:
        output.emit(api.post(f"/v1/approvals/{approval}/attestation", {"approve": not no, "comment": comment}))


def approve(approval: Id, comment: Comment = "", principal: As = None, json: Json = False) -> None:
    """Say yes to exactly this action, once. Who asked for it cannot."""
    _decide(approval, "approve", comment, principal, json=json)


def deny(approval: Id, comment: Comment = "", principal: As = None, json: Json = False) -> None:
    """Say no. The persona is told and may try another way."""
    _decide(approval, "deny", comment, principal, json=json)


def _decide(approval: str, answer: str, comment: str, principal: str | None, *, json: bool) -> None:
    with Api(principal=principal, json=json) as api:
        _show(api.post(f"/v1/approvals/{approval}/{answer}", {"comment": comment}), json=json)


def _show(approval: dict[str, Any], *, json: bool) -> None:
    if json:
        output.emit(approval)
        return
    console = output.console()
    console.print(f"[bold]{approval['id']}[/]  {colored(approval['state'])}")
    console.print(f"{approval['kind']} {approval['target']} in {approval['run']}", markup=False, soft_wrap=True)
    console.print(approval["sentence"], markup=False, soft_wrap=True)
    console.print(f"asked by {approval['requested_by']}, expires {clock(approval['expires_at'])}", soft_wrap=True)
    if approval.get("decided_by"):
        said = f": {approval['comment']}" if approval.get("comment") else ""
        console.print(f"decided by {approval['decided_by']} {clock(approval['decided_at'])}{said}", markup=False)
