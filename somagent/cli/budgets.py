"""Commands `somagent budget`, `project` and `usage`: accounts, their limits, and what runs spent."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from typer import Argument, Option

from capsules.budgets.account import format_rate
from capsules.budgets.usage_report import USAGE_GROUPS, Usage
from capsules.runs.url import run_path
from somagent.cli import output
from somagent.cli.command import KeyOption, LimitOption, RunArgument, command, group
from somagent.cli.connection import Api, JsonValue
from somagent.cli.exit_codes import Code
from somagent.cli.output import Lines, amounts, local_time, table

MICRO = 1_000_000
PROJECTS = "/v1/projects"
top = group()
app = group("budget", "Show, check and raise budgets.")
project = group("project", "List, show, set and close projects, which share the tenant's budget.")

ProjectArgument = Annotated[str, Argument(metavar="PROJECT", help="The project's name, such as website.")]
ProjectRateOption = Annotated[int | None, Option(metavar="N", min=1, help="Limit in any 60 seconds. Unset: none.")]


def _account_lines(found: dict[str, Any]) -> Lines:
    account = found["account"]
    worked = account["wall_clock"]
    yield f"[bold]{account['id']}[/]"
    for name in ("limit", "spent", "reserved"):
        yield f"{name:<9} {amounts(account[name])}"
    yield f"{'left':<9} {amounts(found['left'])}"
    if worked["limit"] is not None:
        yield f"{'clock':<9} {worked['spent']:,} s worked, {worked['reserved']:,} s reserved, of {worked['limit']:,} s"
    if any(account["credit"].values()):
        yield f"{'credit':<9} {amounts(account['credit'])}, part of the limit, spent once"
    if account["period_start"]:
        yield f"{'month':<9} {account['period_start'][:7]}"
    yield from table("when", "what", "limit", "spent", "reserved", "by", row=_entry_row)(found["entries"])


def _entry_row(entry: dict[str, Any]) -> tuple[str, ...]:
    changes = (_change(entry[name]) for name in ("limit", "spent", "reserved"))
    return local_time(entry["at"]), entry["kind"], *changes, entry["by"]


def _change(delta: dict[str, Any]) -> str:
    """Return the changes of an entry as text, such as `+100 tokens, -$0.01`."""
    more_first = sorted(delta.items(), key=lambda item: item[1] < 0)
    return ", ".join(f"{'+' if value > 0 else '-'}{amounts({name: abs(value)})}" for name, value in more_first if value)


def _breach_row(one: dict[str, Any]) -> tuple[str, ...]:
    return one["account"], one["dimension"], one["law"], f"{one['expected']:,}", f"{one['found']:,}"


def _check_lines(found: dict[str, Any]) -> Lines:
    if found["holds"]:
        return ["Every balance is the sum of its entries, and every parent's entries cover its children."]
    return table("account", "dimension", "law", "expected", "found", row=_breach_row)(found["breaches"])


@command(app, text=_account_lines)
def show(
    api: Api,
    run: Annotated[str | None, Argument(metavar="RUN", help="A run's id. Unset: the tenant's account.")] = None,
    limit: LimitOption = 20,
) -> JsonValue:
    """Show an account: limit, spent, reserved, left, and its last entries."""
    path = run_path(run, root="/v1/budgets/runs") if run else "/v1/budgets/tenant"
    return api.get(path, limit=min(limit, 500))


@command(app)
def check(api: Api) -> None:
    """Check the ledger: balances are the sums of their entries, and parents cover their children. Else exit code 11."""
    found = api.get("/v1/budgets/check")
    api.show(found, _check_lines)
    if not found["holds"]:
        raise typer.Exit(Code.UNSOUND)


@command(app, "raise", text=lambda it: [f"limit {amounts(it['limit'])}, left {amounts(it['left'])}"])
def raise_limit(  # noqa: PLR0913, PLR0917 - the command line's own options
    api: Api,
    run: RunArgument,
    tokens: Annotated[int, Option(metavar="N", min=0, help="Tokens to add.")] = 0,
    usd: Annotated[float, Option(metavar="USD", min=0, help="US dollars to add.")] = 0.0,
    tool_calls: Annotated[int, Option(metavar="N", min=0, help="Tool calls to add.")] = 0,
    key: KeyOption = None,
) -> JsonValue:
    """Add to a run's limit. A run that waits for budget continues. Requires the approver: --as approver."""
    body = {"tokens": tokens, "micro_usd": round(usd * MICRO), "tool_calls": tool_calls}
    if not any(body.values()):
        output.fail("Say what to add: --tokens, --usd or --tool-calls.", code=Code.USAGE)
    return api.post(run_path(run, "raise", root="/v1/budgets/runs"), body, key=key)


def _limit(account: dict[str, Any]) -> str:
    """Return the limit of a project's account as text, such as `100,000 tokens this month`."""
    return amounts(account["limit"]) + (" this month" if account["terms"]["period"] else "")


def _rate(account: dict[str, Any]) -> str:
    """Return the rate limit of a project as text, such as `20 calls a minute`."""
    bounds = account["terms"]["rate"]
    return format_rate(bounds["tokens"], bounds["calls"]) if bounds else "no rate limit"


def _project_row(item: dict[str, Any]) -> tuple[str, ...]:
    return item["project"], _limit(item), amounts(item["spent"]), amounts(item["reserved"]), _rate(item)


@command(project, "list", text=table("project", "may spend", "spent", "reserved", "rate", row=_project_row))
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
    tokens: Annotated[int, Option(metavar="N", min=0, help="Limit in tokens.")] = 0,
    usd: Annotated[float, Option(metavar="USD", min=0, help="Limit in US dollars.")] = 0.0,
    tool_calls: Annotated[int, Option(metavar="N", min=0, help="Limit in tool calls.")] = 0,
    monthly: Annotated[bool, Option("--monthly", help="Limits for each calendar month (UTC), not once.")] = False,
    wall_clock: Annotated[
        str | None, Option(metavar="TIME", help="Total working time of its runs, such as 10h. Unset: no limit.")
    ] = None,
    tokens_per_minute: ProjectRateOption = None,
    calls_per_minute: ProjectRateOption = None,
) -> None:
    """Set a project's limits, and open the project if there is none. Requires the approver: --as approver."""
    body: dict[str, Any] = {
        "allowance": {"tokens": tokens, "micro_usd": round(usd * MICRO), "tool_calls": tool_calls},
        "period": "month" if monthly else None,
        "wall_clock": wall_clock,
    }
    if tokens_per_minute or calls_per_minute:
        body["rate"] = {"tokens": tokens_per_minute, "calls": calls_per_minute}
    account = api.put(f"{PROJECTS}/{name}", body)
    spent = amounts(account["spent"])
    api.show(account, lambda it: [f"{escape(name)}: {_limit(it)}; spent {spent}; {_rate(it)}"])


@command(project, text=lambda it: [f"{escape(it['project'])} is closed."])
def close(api: Api, name: ProjectArgument) -> JsonValue:
    """Close a project without open runs. What it has left returns to the tenant."""
    api.delete(f"{PROJECTS}/{name}")
    return {"project": name, "closed": True}


@command(top)
def usage(
    api: Api,
    by: Annotated[
        list[str] | None,
        Option(metavar="NAME", help=f"Group by {', '.join(USAGE_GROUPS)}. Repeatable. Unset: one total."),
    ] = None,
    since: Annotated[str | None, Option(metavar="YYYY-MM-DD", help="First day (UTC). Unset: 30 days ago.")] = None,
    until: Annotated[str | None, Option(metavar="YYYY-MM-DD", help="Last day (UTC). Unset: today.")] = None,
    csv: Annotated[
        Path | None, Option(metavar="FILE", dir_okay=False, help="Write a CSV file instead of text.")
    ] = None,
) -> None:
    """Report what runs spent. The spending of a child run counts for the child alone."""
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
        text = table(*(groups or ["tenant"]), "runs", "failed", "spent", "worked", row=row)
        yield from text([Usage.model_validate(item) for item in found["items"]])
        yield f"[dim]{found['since']} to {found['until']}[/]"

    api.show(api.get("/v1/usage", **query), lines)
