"""`somagent usage`: what runs spent, by project, capsule, persona, model and day; as a table, JSON or a CSV file."""

from pathlib import Path
from typing import Annotated, Any

import typer

from capsules.budgets.usage_report import DIMENSIONS, Usage
from somagent.cli import output
from somagent.cli.connection import Api
from somagent.cli.exit_codes import Code
from somagent.cli.formatting import amounts, table
from somagent.cli.options import As, Json

By = Annotated[
    list[str] | None,
    typer.Option("--by", help=f"What to group by, as often as needed: {', '.join(DIMENSIONS)}. Unset: one total."),
]
Day = Annotated[str | None, typer.Option(metavar="YYYY-MM-DD", help="First day, UTC. Unset: thirty days back.")]
LastDay = Annotated[str | None, typer.Option(metavar="YYYY-MM-DD", help="Last day, UTC. Unset: today.")]
File = Annotated[Path | None, typer.Option("--csv", dir_okay=False, help="Write a CSV file instead of a table.")]


def register(to: typer.Typer) -> None:
    to.command()(usage)


def usage(  # noqa: PLR0913, PLR0917 - the command line's own options
    by: By = None,
    since: Day = None,
    until: LastDay = None,
    csv: File = None,
    principal: As = None,
    json: Json = False,
) -> None:
    """Report what runs spent themselves; what a child spent is the child's."""
    if unknown := [one for one in by or () if one not in DIMENSIONS]:
        output.fail(f"--by takes {', '.join(DIMENSIONS)}; not {', '.join(unknown)}.", code=Code.USAGE)
    query: dict[str, Any] = {"by": by or [], "since": since, "until": until}
    with Api(principal=principal, json=json) as api:
        if csv is not None:
            csv.write_bytes(api.fetch("/v1/usage", **query, format="csv"))
            output.console().print(f"Written: {csv}", soft_wrap=True)
            return
        found = api.get("/v1/usage", **query)
    if json:
        output.emit(found)
        return
    chosen: list[str] = [name for name in DIMENSIONS if name in (by or ())]
    shown = table(*(chosen or ["tenant"]), "runs", "failed", "spent", "worked")
    for item in found["items"]:
        one = Usage.model_validate(item)
        groups = [str(getattr(one, name) or "-") for name in chosen] or [one.tenant]
        shown.add_row(*groups, str(one.runs), str(one.failed), amounts(one.spent.model_dump()), f"{one.seconds} s")
    output.console().print(shown)
    output.console().print(f"{found['since']} to {found['until']}", style="dim")
