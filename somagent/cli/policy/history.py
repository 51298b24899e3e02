"""Command `somagent policy backtest`, and explanations of recorded decisions; the API evaluates both."""

from datetime import datetime
from typing import Annotated, Any

from rich.markup import escape
from typer import Argument, Option

from capsules.actions.verdict import PPM
from capsules.constitutions.proof import Explanation
from somagent.cli.command import command, group
from somagent.cli.connection import Api, JsonValue
from somagent.cli.output import Lines, color, local_time, table
from somagent.cli.policy.sources import ACTIVE, DIGEST, WHICH, OverlayOption, from_file, source

app = group()
PAST = {"allow": "allowed", "ask": "asked", "deny": "denied"}


def _flip_row(flip: dict[str, Any]) -> tuple[str, ...]:
    action = escape(f"{flip['action']['kind']} {flip['action']['target']}")
    decisions = color(flip["before"]), color(flip["after"])
    return flip["run"], str(flip["seq"]), local_time(flip["at"]), action, *decisions, escape(flip["sentence"])


def _lines(found: dict[str, Any]) -> Lines:
    flips, skipped = found["flips"], found["skipped"]
    if flips:
        yield from table("run", "seq", "when", "what", "then", "now", "why", row=_flip_row)(flips)
        first = flips[0]
        yield escape(f"look: somagent receipts {first['run']}")
        yield escape(f"why then: somagent policy explain --run {first['run']} --seq {first['seq']}")
    left_out = f", {skipped} older ones left out because their facts are not recorded." if skipped else "."
    evaluated = f"{found['actions']} actions evaluated again{left_out}"
    yield f"{len(flips)} of {found['runs']} runs would have gone another way; {evaluated}"


@command(app, text=_lines)
def backtest(
    api: Api,
    constitution: Annotated[str, Argument(metavar="CONSTITUTION", help=WHICH)],
    overlay: OverlayOption = None,
    runs: Annotated[int, Option(min=1, max=10_000, metavar="N", help="Highest number of runs, newest first.")] = 200,
    since: Annotated[datetime | None, Option(help="Only runs that began at this local time or later.")] = None,
) -> JsonValue:
    """Evaluate recorded actions again. Show the first action of each run that would be decided differently."""
    installed = constitution == ACTIVE or DIGEST.fullmatch(constitution)
    body = {
        "candidate": constitution if installed else source(constitution, api).document,
        "overlays": [from_file(file).document for file in overlay or ()],
        "runs": runs,
        "since": since.astimezone().isoformat() if since else None,
    }
    return api.post("/v1/policy/backtest", body)


def explain_recorded(api: Api, decision: dict[str, Any]) -> None:
    """Explain a waiting approval (`approval`), or a decision of a run (`run` and `seq`)."""
    api.show(api.post("/v1/policy/explain", decision), lambda it: explanation_lines(Explanation.model_validate(it)))


def explanation_lines(explanation: Explanation) -> Lines:
    """Yield a decision, the clauses that force it, the change that would help, and who can approve."""
    verdict = explanation.verdict
    yield f"{color(verdict.decision)}  score {_exact(verdict.score)}, threshold {_exact(verdict.threshold)}"
    yield escape(verdict.sentence)
    yield from table(
        "feature",
        "weight",
        "value",
        "points",
        row=lambda part: (part.feature, *map(_exact, (part.weight, part.value, part.points))),
    )(verdict.contributions)
    for citation in explanation.cited:
        values = ", ".join(f"{path} = {value}" for path, value in citation.attributes.items())
        yield f"because of [bold]{escape(citation.clause)}[/]: {escape(values)}"
    if explanation.advised is not None and explanation.advice:
        yield f"with these changes it would be {color(PAST[explanation.advised.verdict.decision])}:"
        for one in explanation.advice:
            yield escape(f"  {one.attribute}: {one.now} -> {one.to}")
    elif verdict.decision != "allow":
        yield "No change that a caller can make would help."
    for capability in explanation.approvers:
        yield escape(f"who has {capability} can approve it")


def _exact(ppm: int) -> str:
    return f"{ppm / PPM:.6f}"
