"""Tenant administration by the owner of the installation: `python -m workers.tenants`. Needs its keys and database."""

import asyncio
import json
from collections.abc import Coroutine
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import TypeAdapter, ValidationError

from capsules.budgets.account import Account, AccountTerms, Rate
from capsules.budgets.amounts import Amounts
from capsules.budgets.usage_report import USAGE_GROUPS, DayRange, Usage, as_csv
from capsules.errors import SomaError
from capsules.names import TenantId
from somagent.forecasts.run_forecasts import today
from somagent.local_stack.tenants import (
    TEST_DRIVE,
    add_tenant,
    allow_tenant,
    credit_tenant,
    rotate_tenant,
    tenants_of,
    usage_of,
)
from somagent.settings import Settings

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
MICRO = 1_000_000
DAY = ["%Y-%m-%d"]

TenantArgument = Annotated[str, typer.Argument(metavar="TENANT", help="Lower-case letters, digits and hyphens.")]
TokensOption = Annotated[int, typer.Option("--tokens", min=0, help="Tokens.")]
UsdOption = Annotated[float, typer.Option("--usd", min=0, help="Dollars.")]
ToolCallsOption = Annotated[int, typer.Option("--tool-calls", min=0, help="Tool calls.")]
OnceOption = Annotated[bool, typer.Option("--once", help="Once and for all, not in each calendar month (UTC).")]
KeyDaysOption = Annotated[int, typer.Option("--days", min=1, max=365, help="How long the API keys are valid.")]
TenantRateOption = Annotated[
    int | None, typer.Option(min=1, help="At most so many in any sixty seconds. Unset: no bound.")
]


@app.command("list")
def list_tenants() -> None:
    """List the tenants."""
    for tenant in _run(tenants_of(Settings())):
        typer.echo(tenant)


@app.command()
def add(  # noqa: PLR0913, PLR0917 - the command line's own options
    tenant: TenantArgument,
    tokens: TokensOption = 0,
    usd: UsdOption = 0.0,
    tool_calls: ToolCallsOption = 0,
    once: OnceOption = False,
    credit_tokens: Annotated[int, typer.Option(min=0, help="Test drive: tokens.")] = TEST_DRIVE.tokens,
    credit_usd: Annotated[float, typer.Option(min=0, help="Test drive: dollars.")] = TEST_DRIVE.micro_usd / MICRO,
    credit_tool_calls: Annotated[int, typer.Option(min=0, help="Test drive: tool calls.")] = TEST_DRIVE.tool_calls,
    days: KeyDaysOption = 90,
) -> None:
    """Add a tenant, and print the API keys of its operator and its approver. They are kept nowhere.

    Done again, it changes nothing and prints no key: `rotate` replaces keys that were lost.
    """
    try:
        TypeAdapter(TenantId).validate_python(tenant)
    except ValidationError as error:
        raise typer.BadParameter("Lower-case letters, digits and hyphens, 63 at most.") from error
    made = _run(
        add_tenant(
            Settings(),
            tenant,
            terms=_terms(tokens, usd, tool_calls, once=once),
            credit=_amounts(credit_tokens, credit_usd, credit_tool_calls),
            days=days,
        )
    )
    typer.echo(json.dumps({"account": made.account.model_dump(mode="json"), "tokens": made.tokens}, indent=2))


@app.command()
def rotate(tenant: TenantArgument, days: KeyDaysOption = 90) -> None:
    """Revoke every key and token of a tenant, and print new API keys of its operator and its approver."""
    typer.echo(json.dumps({"tokens": _run(rotate_tenant(Settings(), tenant, days=days))}, indent=2))


@app.command()
def allow(  # noqa: PLR0913, PLR0917 - the command line's own options
    tenant: TenantArgument,
    tokens: TokensOption = 0,
    usd: UsdOption = 0.0,
    tool_calls: ToolCallsOption = 0,
    once: OnceOption = False,
    wall_clock: Annotated[
        str | None, typer.Option("--wall-clock", help="How long its runs may work, such as 10h.")
    ] = None,
    tokens_per_minute: TenantRateOption = None,
    calls_per_minute: TenantRateOption = None,
) -> None:
    """Say what a tenant may spend from now on."""
    rate = Rate(tokens=tokens_per_minute, calls=calls_per_minute) if tokens_per_minute or calls_per_minute else None
    given = _terms(tokens, usd, tool_calls, once=once).model_dump(exclude={"rate"}) | {"wall_clock": wall_clock}
    terms = AccountTerms(**given, rate=rate)
    _show(_run(allow_tenant(Settings(), tenant, terms)))


@app.command()
def credit(
    tenant: TenantArgument,
    key: Annotated[str, typer.Argument(metavar="KEY", help="What it is for; the same key again gives nothing.")],
    tokens: TokensOption = 0,
    usd: UsdOption = 0.0,
    tool_calls: ToolCallsOption = 0,
) -> None:
    """Give a tenant credit, which is spent once, after its allowance."""
    _show(_run(credit_tenant(Settings(), tenant, _amounts(tokens, usd, tool_calls), key)))


@app.command()
def usage(
    by: Annotated[
        list[str] | None, typer.Option("--by", help=f"As often as needed: {', '.join(USAGE_GROUPS)}.")
    ] = None,
    since: Annotated[
        datetime | None, typer.Option(formats=DAY, help="First day, UTC. Unset: thirty days back.")
    ] = None,
    until: Annotated[datetime | None, typer.Option(formats=DAY, help="Last day, UTC. Unset: today.")] = None,
    csv: Annotated[Path | None, typer.Option("--csv", dir_okay=False, help="Write a CSV file.")] = None,
) -> None:
    """Report what every tenant's runs spent, as JSON or a CSV file."""
    chosen = [name for name in USAGE_GROUPS if name in (by or ())]
    if unknown := set(by or ()) - set(chosen):
        raise typer.BadParameter(f"--by takes {', '.join(USAGE_GROUPS)}; not {', '.join(sorted(unknown))}.")

    async def report() -> tuple[Usage, ...]:
        first, last = (moment.date() if moment else None for moment in (since, until))
        return await usage_of(Settings(), chosen, DayRange.of(first, last, today=today()))

    found = _run(report())
    if csv is None:
        typer.echo(json.dumps([one.model_dump(mode="json") for one in found], indent=2))
        return
    csv.write_text(as_csv(found), newline="")
    typer.echo(f"Written: {csv}")


def _terms(tokens: int, usd: float, tool_calls: int, *, once: bool) -> AccountTerms:
    return AccountTerms(allowance=_amounts(tokens, usd, tool_calls), period=None if once else "month")


def _amounts(tokens: int, usd: float, tool_calls: int) -> Amounts:
    return Amounts(tokens=tokens, micro_usd=round(usd * MICRO), tool_calls=tool_calls)


def _show(account: Account) -> None:
    typer.echo(json.dumps(account.model_dump(mode="json"), indent=2))


def _run[T](work: Coroutine[Any, Any, T]) -> T:
    try:
        return asyncio.run(work)
    except SomaError as error:
        typer.echo(f"{error.code}: {error.message}", err=True)
        raise typer.Exit(1) from error


if __name__ == "__main__":
    app()
