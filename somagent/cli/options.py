"""Options that several commands share."""

from typing import Annotated

import typer

As = Annotated[
    str | None,
    typer.Option(
        "--as", metavar="NAME", help="Principal of the local stack, when SOMAGENT_TOKEN is not set: operator, approver."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Write one JSON document instead of text.")]
Limit = Annotated[int, typer.Option("--limit", "-n", min=1, max=10_000, help="Most items to show.")]
RunId = Annotated[str, typer.Argument(metavar="RUN", help="A run's id, as `somagent runs list` shows it.")]
Key = Annotated[
    str | None,
    typer.Option("--key", help="Idempotency key: the same key again is the same thing, not a second one."),
]
Reason = Annotated[str, typer.Option("--reason", help="Why, for the record.")]
Project = Annotated[
    str | None, typer.Option("--project", metavar="PROJECT", help="Whose budget is spent. Unset: the tenant's.")
]
