"""`somagent budget`, `project` and `usage`: limits of accounts, and what runs spent."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from capsules.budgets.account import format_rate
from capsules.budgets.usage_report import USAGE_GROUPS, Usage
from somagent.cli import output
from somagent.cli.command import KeyOption, LimitOption, RunArgument, command, group
from somagent.cli.connection import Api, JsonValue, run_path
from somagent.cli.exit_codes import Code
from somagent.cli.output import Lines, amounts, clock, rows

MICRO = 1_000_000
PROJECTS = "/v1/projects"
top = group()
app = group("budget", "Show and raise budgets.")
project = group("project", "Give projects their part of the tenant's budget.")

ProjectArgument = Annotated[str, typer.Argument(metavar="PROJECT", help="The project's name, such as website.")]
ProjectRateOption = Annotated[
    int | None, typer.Option(min=1, help="Highest number in any sixty seconds. Unset: no limit.")
]


def _account_lines(found: dict[str, Any]) -> Lines:
    account = found["account"]
    worked = account["wall_clock"]
    yield f"[bold]{account['id']}[/]"
    for name in ("limit", "spent", "reserved"):
        yield f"{name:<9} {amounts(account[name])}"
    yield f"{'left':<9} {amounts(found['left'])}"
    if worked["limit"] is not None:
        yield f"{'clock':<9} {worked['spent']:,} s worked, {worked['reserved']:,} s held, of {worked['limit']:,} s"
    if any(account["credit"].values()):
        yield f"{'credit':<9} {amounts(account['credit'])}, part of the limit, spent once"
    if account["period_start"]:
        yield f"{'month':<9} {account['period_start'][:7]}"
    yield from rows("when", "what", "limit", "spent", "reserved", "by", row=_entry_row)(found["entries"])


def _entry_row(entry: dict[str, Any]) -> tuple[str, ...]:
    changes = (_change(entry[name]) for name in ("limit", "spent", "reserved"))
    return clock(entry["at"]), entry["kind"], *changes, entry["by"]


def _change(delta: dict[str, Any]) -> str:
    """Return what an entry changed, with signs."""
    parts = []
    for sign, values in (("+", delta), ("-", {name: -value for name, value in delta.items()})):
        changed = {name: value for name, value in values.items() if value > 0}
        if changed:
            parts += [f"{sign}{part}" for part in amounts(changed).split(" · ")]
    return ", ".join(parts)


def _breach_row(one: dict[str, Any]) -> tuple[str, ...]:
    return one["account"], one["dimension"], one["law"], f"{one['expected']:,}", f"{one['found']:,}"


def _check_lines(found: dict[str, Any]) -> Lines:
    if found["holds"]:
        return ["Every balance is the sum of its entries, and every parent holds what it gave."]
    return rows("account", "dimension", "law", "expected", "found", row=_breach_row)(found["breaches"])


@command(app, text=_account_lines)
def show(
    api: Api,
    run: Annotated[str | None, typer.Argument(metavar="[RUN]", help="A run's id. Unset: the tenant.")] = None,
    limit: LimitOption = 20,
) -> JsonValue:
    """Show an account: limit, spent, reserved, left, and its last entries."""
    path = run_path(run, below="/v1/budgets/runs") if run else "/v1/budgets/tenant"
    return api.get(path, limit=min(limit, 500))


@command(app)
def check(api: Api) -> None:
    """Check the laws of the ledger: entries add up, parents hold what their children were given."""
    found = api.get("/v1/budgets/check")
    api.show(found, _check_lines)
    if not found["holds"]:
        raise typer.Exit(Code.UNSOUND)


@command(app, "raise", text=lambda it: [f"limit {amounts(it['limit'])}, left {amounts(it['left'])}"])
def raise_limit(  # noqa: PLR0913, PLR0917 - the command line's own options
    api: Api,
    run: RunArgument,
    tokens: Annotated[int, typer.Option("--tokens", min=0, help="Tokens to add.")] = 0,
    usd: Annotated[float, typer.Option("--usd", min=0, help="Dollars to add.")] = 0.0,
    tool_calls: Annotated[int, typer.Option("--tool-calls", min=0, help="Tool calls to add.")] = 0,
    key: KeyOption = None,
) -> JsonValue:
    """Add to a run's limit. A run that waits for budget continues. Requires the approver: --as approver."""
    body = {"tokens": tokens, "micro_usd": round(usd * MICRO), "tool_calls": tool_calls}
    if not any(body.values()):
        output.fail("Say what to add: --tokens, --usd or --tool-calls.", code=Code.USAGE)
    return api.post(run_path(run, "raise", below="/v1/budgets/runs"), body, key=key)


def _may_spend(account: dict[str, Any]) -> str:
    """Return the limit of a project's account: `100,000 tokens this month`."""
    return amounts(account["limit"]) + (" this month" if account["terms"]["period"] else "")


def _rate(account: dict[str, Any]) -> str:
    """Return the rate limit of a project: `20 calls a minute`."""
    bounds = account["terms"]["rate"]
    return format_rate(bounds["tokens"], bounds["calls"]) if bounds else "no rate"


def _project_row(item: dict[str, Any]) -> tuple[str, ...]:
    return item["project"], _may_spend(item), amounts(item["spent"]), amounts(item["reserved"]), _rate(item)


@command(project, "list", text=rows("project", "may spend", "spent", "held", "rate", row=_project_row))
def list_projects(api: Api) -> JsonValue:
    """List the open projects."""
    return api.get(PROJECTS)["items"]


@command(project, "show", text=_account_lines)
def show_project(api: Api, name: ProjectArgument, limit: LimitOption = 20) -> JsonValue:
    """Show a project's account and its last entries."""
    return api.get(f"{PROJECTS}/{name}", limit=min(limit, 500))


@command(project, "set")
def set_project(  # noqa: PLR0913, PLR0917 - the command line's own options
    api: Api,
    name: ProjectArgument,
    tokens: Annotated[int, typer.Option("--tokens", min=0, help="Tokens that it may spend.")] = 0,
    usd: Annotated[float, typer.Option("--usd", min=0, help="Dollars that it may spend.")] = 0.0,
    tool_calls: Annotated[int, typer.Option("--tool-calls", min=0, help="Tool calls that it may make.")] = 0,
    monthly: Annotated[bool, typer.Option("--monthly", help="In each calendar month (UTC), not once.")] = False,
    wall_clock: Annotated[
        str | None,
        typer.Option("--wall-clock", help="How long its runs may work in total, such as 10h. Unset: no limit."),
    ] = None,
    tokens_per_minute: ProjectRateOption = None,
    calls_per_minute: ProjectRateOption = None,
) -> None:
    """Set what a project may spend; open it if there is none. Requires the approver: --as approver."""
    body: dict[str, Any] = {
        "allowance": {"tokens": tokens, "micro_usd": round(usd * MICRO), "tool_calls": tool_calls},
        "period": "month" if monthly else None,
        "wall_clock": wall_clock,
    }
    if tokens_per_minute or calls_per_minute:
        body["rate"] = {"tokens": tokens_per_minute, "calls": calls_per_minute}
    account = api.put(f"{PROJECTS}/{name}", body)
    spent = amounts(account["spent"])
    api.show(account, lambda it: [f"{escape(name)}: {_may_spend(it)}; spent {spent}; {_rate(it)}"])


@command(project, text=lambda it: [f"{escape(it['project'])} is closed."])
def close(api: Api, name: ProjectArgument) -> JsonValue:
    """Close a project under which no run is under way; what it has left returns to the tenant."""
    api.delete(f"{PROJECTS}/{name}")
    return {"project": name, "closed": True}


@command(top)
def usage(
    api: Api,
    by: Annotated[
        list[str] | None,
        typer.Option(
            "--by", help=f"Group by this dimension; may be repeated: {', '.join(USAGE_GROUPS)}. Unset: one total."
        ),
    ] = None,
    since: Annotated[
        str | None, typer.Option(metavar="YYYY-MM-DD", help="First day, UTC. Unset: thirty days back.")
    ] = None,
    until: Annotated[str | None, typer.Option(metavar="YYYY-MM-DD", help="Last day, UTC. Unset: today.")] = None,
    csv: Annotated[
        Path | None, typer.Option("--csv", dir_okay=False, help="Write a CSV file instead of a table.")
    ] = None,
) -> None:
    """Report what runs spent themselves; what a child spent is the child's."""
    output.require_known("--by", by, USAGE_GROUPS)
    query: dict[str, Any] = {"by": by or [], "since": since, "until": until}
    if csv is not None:
        csv.write_bytes(api.fetch("/v1/usage", **query, format="csv"))
        output.show([f"Written: {csv}"])
        return
    groups: list[str] = [name for name in USAGE_GROUPS if name in (by or ())]

    def row(one: Usage) -> tuple[str, ...]:
        values = [str(getattr(one, name) or "-") for name in groups] or [one.tenant]
        return *values, str(one.runs), str(one.failed), amounts(one.spent), f"{one.seconds} s"

    def lines(found: dict[str, Any]) -> Lines:
        table = rows(*(groups or ["tenant"]), "runs", "failed", "spent", "worked", row=row)
        yield from table([Usage.model_validate(item) for item in found["items"]])
        yield f"[dim]{found['since']} to {found['until']}[/]"

    api.show(api.get("/v1/usage", **query), lines)
