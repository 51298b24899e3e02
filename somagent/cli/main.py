"""The command line `somagent`: one flat list of groups, each registered by its own module."""

import typer

from somagent.cli import (
    approvals,
    audit,
    budget,
    capsule,
    evidence,
    explain,
    forecast,
    notify,
    policy,
    project,
    receipts,
    retention,
    run,
    runs,
    schedule,
    stack,
    token,
    usage,
)
from somagent.cli.exit_codes import MEANINGS

app = typer.Typer(
    name="somagent",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Run Task Capsules: governed, durable agent work. No mocks, no bypasses, no invented values.",
    epilog="Exit codes: " + " ".join(f"{code.value} {meaning}" for code, meaning in MEANINGS.items()),
)

for group in (
    stack,
    run,
    runs,
    approvals,
    capsule,
    schedule,
    budget,
    project,
    usage,
    forecast,
    policy,
    explain,
    receipts,
    audit,
    retention,
    evidence,
    notify,
    token,
):
    group.register(app)
