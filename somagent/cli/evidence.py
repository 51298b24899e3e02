"""`somagent evidence`: one signed archive of a run, for an auditor who has no reason to trust this stack."""

from pathlib import Path
from typing import Annotated

import typer

from capsules.audit.evidence import REDACTIONS
from somagent.cli import output
from somagent.cli.connection import Api, run_path
from somagent.cli.exit_codes import Code
from somagent.cli.options import As, RunId

app = typer.Typer(no_args_is_help=True, help="Hand over the evidence of a run.")

Into = Annotated[
    Path | None, typer.Option("--output", "-o", dir_okay=False, help="File to write. Without: RUN.evidence.zip here.")
]
Redact = Annotated[
    list[str] | None,
    typer.Option("--redact", help=f"What to leave out, as often as needed: {', '.join(REDACTIONS)}."),
]

Children = Annotated[bool, typer.Option(help="With the evidence of each child run of a composite, each in a folder.")]


def register(to: typer.Typer) -> None:
    to.add_typer(app, name="evidence")


@app.command()
def export(
    run: RunId, into: Into = None, redact: Redact = None, children: Children = True, principal: As = None
) -> None:
    """Export one signed archive. Check it with: somagent audit verify --bundle FILE --keys DIR."""
    if unknown := [one for one in redact or () if one not in REDACTIONS]:
        output.fail(f"--redact takes {', '.join(REDACTIONS)}; not {', '.join(unknown)}.", code=Code.USAGE)
    file = into or Path(run.replace("/", "-") + ".evidence.zip")
    with Api(principal=principal) as api:
        data = api.fetch(run_path(run, "evidence"), redact=redact or [], children=children)
    file.write_bytes(data)
    output.console().print(f"Written: {file} ({len(data):,} bytes)", soft_wrap=True)
