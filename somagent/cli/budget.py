"""`somagent budget`: what the tenant or a run may spend and has spent, and a raise."""

from typing import Annotated, Any

import typer

from somagent.cli import output
from somagent.cli.connection import Api
from somagent.cli.exit_codes import Code
from somagent.cli.formatting import amounts, clock, table
from somagent.cli.options import As, Json, Key, Limit, RunId

app = typer.Typer(no_args_is_help=True, help="Show and raise budgets.")
MICRO = 1_000_000


def register(to: typer.Typer) -> None:
    to.add_typer(app, name="budget")


@app.command()
def show(
    run: Annotated[str | None, typer.Argument(metavar="[RUN]", help="A run's id. Without: the tenant.")] = None,
    limit: Limit = 20,
    principal: As = None,
    json: Json = False,
) -> None:
    """Show an account: limit, spent, reserved, left, and its last entries."""
    with Api(principal=principal, json=json) as api:
        found = api.get(_path(run), limit=min(limit, 500))
    show_account(found, json=json)


@app.command()
def check(principal: As = None, json: Json = False) -> None:
    """Check the laws of the ledger: entries add up, parents hold what their children were given."""
    with Api(principal=principal, json=json) as api:
        found = api.get("/v1/budgets/check")
    if json:
        output.emit(found)
    elif found["holds"]:
        output.console().print("Every balance is the sum of its entries, and every parent holds what it gave.")
    else:
        shown = table("account", "dimension", "law", "expected", "found")
        for one in found["breaches"]:
            shown.add_row(one["account"], one["dimension"], one["law"], f"{one['expected']:,}", f"{one['found']:,}")
        output.console().print(shown)
    if not found["holds"]:
        raise typer.Exit(Code.UNSOUND)


def show_account(found: dict[str, Any], *, json: bool) -> None:
    """Print an account and its last entries."""
    if json:
        output.emit(found)
        return
    console = output.console()
    account = found["account"]
    console.print(f"[bold]{account['id']}[/]", soft_wrap=True)
    for name in ("limit", "spent", "reserved"):
        console.print(f"{name:<9} {amounts(account[name])}")
    console.print(f"{'left':<9} {amounts(found['left'])}")
    worked = account["wall_clock"]
    if worked["limit"] is not None:
        told = f"{worked['spent']:,} s worked, {worked['reserved']:,} s held, of {worked['limit']:,} s"
        console.print(f"{'clock':<9} {told}")
    if any(account["credit"].values()):
        console.print(f"{'credit':<9} {amounts(account['credit'])}, part of the limit, spent once")
    if account["period_start"]:
        console.print(f"{'month':<9} {account['period_start'][:7]}")
    entries = table("when", "what", "limit", "spent", "reserved", "by")
    for entry in found["entries"]:
        changes = [_change(entry[name]) for name in ("limit", "spent", "reserved")]
        entries.add_row(clock(entry["at"]), entry["kind"], *changes, entry["by"])
    console.print(entries)


@app.command("raise")
def raise_limit(  # noqa: PLR0913, PLR0917 - the command line's own options
    run: RunId,
    tokens: Annotated[int, typer.Option("--tokens", min=0, help="Tokens to add.")] = 0,
    usd: Annotated[float, typer.Option("--usd", min=0, help="Dollars to add.")] = 0.0,
    tool_calls: Annotated[int, typer.Option("--tool-calls", min=0, help="Tool calls to add.")] = 0,
    key: Key = None,
    principal: As = None,
    json: Json = False,
) -> None:
    """Add to a run's limit. A run that waits for budget goes on. Who runs cannot raise: --as approver."""
    body = {"tokens": tokens, "micro_usd": round(usd * MICRO), "tool_calls": tool_calls}
    if not any(body.values()):
        output.fail("Say what to add: --tokens, --usd or --tool-calls.", code=Code.USAGE)
    with Api(principal=principal, json=json) as api:
        raised = api.post(f"{_path(run)}/raise", body, key=key)
    if json:
        output.emit(raised)
    else:
        output.console().print(f"limit {amounts(raised['limit'])}, left {amounts(raised['left'])}")


def _path(run: str | None) -> str:
    return f"/v1/budgets/runs/{run.replace('/', '~')}" if run else "/v1/budgets/tenant"


def _change(delta: dict[str, Any]) -> str:
    """Write what an entry changed, with signs."""
    parts = []
    for sign, values in (("+", delta), ("-", {name: -value for name, value in delta.items()})):
        changed = {name: value for name, value in values.items() if value > 0}
        if changed:
            parts += [f"{sign}{part}" for part in amounts(changed).split(" · ")]
    return ", ".join(parts)
