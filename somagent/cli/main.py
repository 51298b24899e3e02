"""Entry point of the CLI `somagent`: its groups of commands, in the order in which its help lists them."""

import typer

from somagent.cli import (
    approvals,
    audit,
    budgets,
    capsule,
    explain,
    forecast,
    key,
    notify,
    principal,
    receipts,
    retention,
    run,
    runs,
    schedule,
    stack,
    tenant,
    token,
)
from somagent.cli.exit_codes import Code
from somagent.cli.policy import activation, history, signatures
from somagent.cli.policy import commands as policy

app = typer.Typer(
    name="somagent",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Run Task Capsules: governed, durable agent work. No mocks, no bypasses, no invented values.",
    epilog="\n".join(["Exit codes:", *(f"{code.value:>3} {code.meaning}" for code in Code)]),
)

for subgroup in (history.app, signatures.app, activation.app):
    policy.app.add_typer(subgroup)
for part in (
    *(stack.app, run.app, approvals.top, budgets.top, forecast.top, explain.app, receipts.app),
    *(runs.app, approvals.app, capsule.app, schedule.app, budgets.app, budgets.project, forecast.app, policy.app),
    *(audit.app, retention.app, audit.evidence, notify.app, principal.app, key.app, token.app, tenant.app),
):
    app.add_typer(part)
