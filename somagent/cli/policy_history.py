"""`somagent policy backtest`, and explanations of what was decided: what real runs did, judged by the API."""

from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from capsules.constitutions.proof import Explanation
from somagent.cli import output
from somagent.cli.connection import Api
from somagent.cli.formatting import clock, colored, table
from somagent.cli.options import As, Json
from somagent.cli.policy_output import show_explanation
from somagent.cli.policy_sources import ACTIVE, DIGEST, from_file, source


def register(to: typer.Typer) -> None:
    to.command()(backtest)


def backtest(  # noqa: PLR0913, PLR0917 - the command line's own options
    constitution: Annotated[
        str, typer.Argument(metavar="CONSTITUTION", help="A file, `default` for the shipped one, or a digest.")
    ],
    overlay: Annotated[
        list[Path] | None, typer.Option("--overlay", help="An overlay's file, laid over it. May be given again.")
    ] = None,
    runs: Annotated[int, typer.Option("--runs", min=1, max=10_000, help="At most so many runs, the newest.")] = 200,
    since: Annotated[
        datetime | None, typer.Option("--since", help="Only runs that began then or later, by this machine's clock.")
    ] = None,
    principal: As = None,
    json: Json = False,
) -> None:
    """Judge what real runs did again: the first action of each run that this constitution would decide otherwise."""
    asked = {
        "candidate": _named(constitution, principal=principal, json=json),
        "overlays": [from_file(file, json=json).document for file in overlay or ()],
        "runs": runs,
        "since": since.astimezone().isoformat() if since else None,
    }
    with Api(principal=principal, json=json) as api:
        found = api.post("/v1/policy/backtest", asked)
    if json:
        output.emit(found)
    else:
        _show(found)


def explain(*, approval: str | None, run: str | None, seq: int | None, principal: str | None, json: bool) -> None:
    """Explain a waiting approval, or a decision of a run."""
    asked = {"approval": approval} if approval else {"run": run, "seq": seq}
    with Api(principal=principal, json=json) as api:
        found = api.post("/v1/policy/explain", asked)
    if json:
        output.emit(found)
    else:
        show_explanation(Explanation.model_validate(found))


def _named(constitution: str, *, principal: str | None, json: bool) -> str | dict[str, Any]:
    if constitution == ACTIVE or DIGEST.fullmatch(constitution):
        return constitution
    return source(constitution, principal=principal, json=json).document


def _show(found: dict[str, Any]) -> None:
    console = output.console()
    flips = found["flips"]
    if flips:
        shown = table("run", "seq", "when", "what", "then", "now", "why")
        for flip in flips:
            action = flip["action"]
            shown.add_row(
                flip["run"],
                str(flip["seq"]),
                clock(flip["at"]),
                escape(f"{action['kind']} {action['target']}"),
                colored(flip["before"]),
                colored(flip["after"]),
                escape(flip["sentence"]),
            )
        console.print(shown)
        first = flips[0]
        console.print(f"look: somagent receipts {first['run']}", markup=False, soft_wrap=True)
        console.print(
            f"why then: somagent policy explain --run {first['run']} --seq {first['seq']}", markup=False, soft_wrap=True
        )
    console.print(
        f"{len(flips)} of {found['runs']} runs would have gone another way; {found['actions']} actions judged again"
        + (f", {found['skipped']} older ones left out: they do not say on what facts." if found["skipped"] else "."),
        soft_wrap=True,
    )
