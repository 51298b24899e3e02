"""`somagent project`: parts of the tenant's budget, from which runs take theirs."""

from typing import Annotated, Any

import typer

from capsules.budgets.account import format_rate
from somagent.cli import output
from somagent.cli.budget import MICRO, show_account
from somagent.cli.connection import Api
from somagent.cli.formatting import amounts, table
from somagent.cli.options import As, Json, Limit

app = typer.Typer(no_args_is_help=True, help="Give projects their part of the tenant's budget.")
Name = Annotated[str, typer.Argument(metavar="PROJECT", help="The project's name, such as website.")]
PerMinute = Annotated[int | None, typer.Option(min=1, help="At most so many in any sixty seconds. Unset: no bound.")]


def register(to: typer.Typer) -> None:
    to.add_typer(app, name="project")


@app.command("list")
def list_projects(principal: As = None, json: Json = False) -> None:
    """List the open projects."""
    with Api(principal=principal, json=json) as api:
        items = api.get("/v1/projects")["items"]
    if json:
        output.emit(items)
        return
    shown = table("project", "may spend", "spent", "held", "rate")
    for item in items:
        shown.add_row(item["project"], terms(item), amounts(item["spent"]), amounts(item["reserved"]), rate(item))
    output.console().print(shown)


@app.command()
def show(name: Name, limit: Limit = 20, principal: As = None, json: Json = False) -> None:
    """Show a project's account and its last entries."""
    with Api(principal=principal, json=json) as api:
        show_account(api.get(f"/v1/projects/{name}", limit=min(limit, 500)), json=json)


@app.command("set")
def set_project(  # noqa: PLR0913, PLR0917 - the command line's own options
    name: Name,
    tokens: Annotated[int, typer.Option("--tokens", min=0, help="Tokens that it may spend.")] = 0,
    usd: Annotated[float, typer.Option("--usd", min=0, help="Dollars that it may spend.")] = 0.0,
    tool_calls: Annotated[int, typer.Option("--tool-calls", min=0, help="Tool calls that it may make.")] = 0,
    monthly: Annotated[bool, typer.Option("--monthly", help="In each calendar month (UTC), not once.")] = False,
    wall_clock: Annotated[
        str | None,
        typer.Option("--wall-clock", help="How long its runs may work in all, such as 10h. Unset: no bound."),
    ] = None,
    tokens_per_minute: PerMinute = None,
    calls_per_minute: PerMinute = None,
    principal: As = None,
    json: Json = False,
) -> None:
    """Say what a project may spend; open it if there is none. Who runs cannot: --as approver."""
    body: dict[str, Any] = {
        "allowance": {"tokens": tokens, "micro_usd": round(usd * MICRO), "tool_calls": tool_calls},
        "period": "month" if monthly else None,
        "wall_clock": wall_clock,
    }
    if tokens_per_minute or calls_per_minute:
        body["rate"] = {"tokens": tokens_per_minute, "calls": calls_per_minute}
    with Api(principal=principal, json=json) as api:
        account = api.put(f"/v1/projects/{name}", body)
    if json:
        output.emit(account)
    else:
        output.console().print(f"{name}: {terms(account)}; spent {amounts(account['spent'])}; {rate(account)}")


@app.command()
def close(name: Name, principal: As = None, json: Json = False) -> None:
    """Close a project under which no run is under way; what it has left returns to the tenant."""
    with Api(principal=principal, json=json) as api:
        api.delete(f"/v1/projects/{name}")
    if json:
        output.emit({"project": name, "closed": True})
    else:
        output.console().print(f"{name} is closed.")


def terms(account: dict[str, Any]) -> str:
    """Write `100,000 tokens a month`."""
    return amounts(account["limit"]) + (" this month" if account["terms"]["period"] else "")


def rate(account: dict[str, Any]) -> str:
    """Write `20 calls a minute`."""
    bounds = account["terms"]["rate"]
    return format_rate(bounds["tokens"], bounds["calls"]) if bounds else "no rate"
