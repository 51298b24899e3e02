"""`somagent receipts`: what the gate decided in a run, and a check of the chain that does not trust the API."""

from typing import Annotated, Any

import typer

from capsules.audit.receipt import Receipt, verify_chain
from somagent.cli import output
from somagent.cli.connection import Api, run_path
from somagent.cli.exit_codes import Code
from somagent.cli.formatting import clock, colored, score, table
from somagent.cli.options import As, Json, RunId

PAGE = 500


def register(to: typer.Typer) -> None:
    to.command()(receipts)


def receipts(
    run: RunId,
    verify: Annotated[
        bool, typer.Option("--verify", help="Recompute every hash here; code 1 when the chain is broken.")
    ] = False,
    principal: As = None,
    json: Json = False,
) -> None:
    """List a run's receipts: every decision and outcome, each hashed over the one before it."""
    with Api(principal=principal, json=json) as api:
        items = _all(api, run)
    problem = verify_chain([Receipt.model_validate(item) for item in items]) if verify else None
    if json:
        output.emit({"items": items, "verified": problem is None, "problem": problem} if verify else items)
    else:
        _print(items)
        if verify and problem is None:
            head = items[-1]["hash"] if items else "nothing"
            output.console().print(f"[green]The chain is whole:[/] {len(items)} receipts, head {head}", soft_wrap=True)
    if problem is not None:
        output.fail(problem, code=Code.RUN_FAILED)


def _all(api: Api, run: str) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    after: int | None = 0
    while after is not None:
        page = api.get(run_path(run, "receipts"), after=after, limit=PAGE)
        items += page["items"]
        after = page["next"]
    return items


def _print(items: list[dict[str, Any]]) -> None:
    shown = table("seq", "when", "receipt", "what", "score", "hash")
    for item in items:
        body = item["body"]
        word = body.get("decision") or ("done" if body.get("ok") else "failed" if "ok" in body else item["kind"])
        what = " ".join(str(part) for part in (_in(body, "kind"), _in(body, "target")) if part)
        points = _in(body, "score")
        shown.add_row(
            str(item["seq"]),
            clock(item["at"]),
            colored(str(word)),
            what,
            score(points) if isinstance(points, int) else "",
            item["hash"][7:19],
        )
    output.console().print(shown)


def _in(body: dict[str, Any], name: str) -> Any:  # noqa: ANN401 - any JSON value
    """Find a field in a receipt's body or one level inside: the action and the verdict are parts of it."""
    if name in body:
        return body[name]
    return next((part[name] for part in body.values() if isinstance(part, dict) and name in part), None)
