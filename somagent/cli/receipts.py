"""Command `somagent receipts`: the receipts of a run, and a check of their hash chain on this machine."""

from typing import Annotated, Any

from typer import Option

from capsules.audit.receipt import Receipt, verify_chain
from capsules.runs.url import run_path
from somagent.cli import output
from somagent.cli.command import RunArgument, command, group
from somagent.cli.connection import Api
from somagent.cli.exit_codes import Code
from somagent.cli.output import Lines, color, local_time, score, table

app = group()


@command(app)
def receipts(
    api: Api,
    run: RunArgument,
    verify: Annotated[bool, Option("--verify", help="Check the hash chain. Exit code 11 if it is broken.")] = False,
) -> None:
    """List a run's receipts, which record every decision and outcome in one hash chain."""
    items = list(api.iter_numbered(run_path(run, "receipts")))
    problem = verify_chain([Receipt.model_validate(item) for item in items]) if verify else None

    def lines(_: object) -> Lines:
        yield from table("seq", "when", "receipt", "what", "score", "hash", row=_row)(items)
        if verify and problem is None:
            head = items[-1]["hash"] if items else "nothing"
            yield f"[green]The hash chain is complete:[/] {len(items)} receipts, head {head}"

    api.show({"items": items, "verified": problem is None, "problem": problem} if verify else items, lines)
    if problem is not None:
        output.fail(problem, code=Code.UNSOUND)


def _row(item: dict[str, Any]) -> tuple[str, ...]:
    body = item["body"]
    word = body.get("decision") or ("done" if body.get("ok") else "failed" if "ok" in body else item["kind"])
    what = " ".join(str(part) for part in (_field(body, "kind"), _field(body, "target")) if part)
    points = _field(body, "score")
    points = score(points) if isinstance(points, int) else ""
    return str(item["seq"]), local_time(item["at"]), color(str(word)), what, points, item["hash"][7:19]


def _field(body: dict[str, Any], name: str) -> Any:  # noqa: ANN401 - any JSON value
    """Return a field of a receipt's body, or else of an object in it, such as the action or the verdict."""
    if name in body:
        return body[name]
    return next((part[name] for part in body.values() if isinstance(part, dict) and name in part), None)
