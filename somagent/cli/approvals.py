"""`somagent approvals`: what waits, or waited, for a person."""

from typing import Annotated

import typer

from somagent.cli import approval_decisions, delegations, grants, output
from somagent.cli.approval_decisions import Comment, Id, OnBehalf, show_one
from somagent.cli.connection import Api
from somagent.cli.formatting import clock, colored, table
from somagent.cli.options import As, Json, Limit

app = typer.Typer(no_args_is_help=True, help="List and show what waits, or waited, for a person.")
State = Annotated[str, typer.Option("--state", help="pending, approved, denied, edited, expired, used, or all.")]
OfRun = Annotated[str | None, typer.Option("--run", help="Only those of this run.")]


def register(to: typer.Typer) -> None:
    to.add_typer(app, name="approvals")
    approval_decisions.register(to, app)
    delegations.register(app)
    grants.register(app)


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
    shown = table("id", "state", "what", "run", "missing", "expires")
    for item in items:
        what = f"{item['kind']} {item['target']}"
        missing = ", ".join(f"{demand['quorum']} {demand['capability']}" for demand in item["missing"])
        shown.add_row(item["id"], colored(item["state"]), what, item["run"], missing, clock(item["expires_at"]))
    output.console().print(shown if items else "Nothing waits for a person.")


@app.command()
def show(approval: Id, principal: As = None, json: Json = False) -> None:
    """Show what is asked, of whom, who could decide it now, and how it was decided."""
    with Api(principal=principal, json=json) as api:
        show_one(api.get(f"/v1/approvals/{approval}"), json=json)


@app.command()
def attest(
    approval: Id,
    no: Annotated[bool, typer.Option("--no", help="Attest a no instead of a yes.")] = False,
    comment: Comment = "",
    on_behalf_of: OnBehalf = None,
    principal: As = None,
) -> None:
    """Write the JSON that `temporal workflow signal --name approve --input` takes. It holds for five minutes."""
    with Api(principal=principal, json=True) as api:
        said = {"approve": not no, "comment": comment, "on_behalf_of": on_behalf_of}
        output.emit(api.post(f"/v1/approvals/{approval}/attestation", said))
