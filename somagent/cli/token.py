"""`somagent token`: who the token says you are, and a narrower or shorter one for something else."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from somagent.cli import output
from somagent.cli.connection import Api
from somagent.cli.formatting import clock
from somagent.cli.options import As, Json

app = typer.Typer(no_args_is_help=True, help="Show and mint tokens.")


def register(to: typer.Typer) -> None:
    to.add_typer(app, name="token")


@app.command()
def show(principal: As = None, json: Json = False) -> None:
    """Show who the token says you are and what it may do."""
    with Api(principal=principal, json=json) as api:
        found = api.get("/v1/principals/self")
    if json:
        output.emit(found)
        return
    console = output.console()
    console.print(f"[bold]{found['subject']}[/] of tenant {found['tenant']}", soft_wrap=True)
    console.print(", ".join(sorted(found["capabilities"])), markup=False, soft_wrap=True)


@app.command()
def mint(
    capability: Annotated[
        list[str] | None, typer.Option("--capability", "-c", help="What it may do. Without: all you may.")
    ] = None,
    seconds: Annotated[int, typer.Option("--seconds", min=1, help="How long it is valid.")] = 3600,
    principal: As = None,
    json: Json = False,
) -> None:
    """Mint a token: as much as yours or less, never more. Text output is the token alone."""
    with Api(principal=principal, json=json) as api:
        made = api.post("/v1/tokens", {"seconds": seconds} | ({"capabilities": capability} if capability else {}))
    if json:
        output.emit(made)
        return
    output.console().print(made["token"], markup=False, soft_wrap=True)
    until = clock(datetime.fromtimestamp(made["expires_at"], UTC).isoformat())
    output.errors().print(f"valid until {until}", style="dim", markup=False)
