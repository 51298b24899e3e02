"""Command `somagent explain`: a run's request, its decisions with clauses and approvers, its cost and its outcome."""

import json as json_format
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from rich.markup import escape
from typer import Option

from capsules.approvals.approval import Approval
from capsules.audit.explanation import ActionDecision, ExplainedAction, RunExplanation
from capsules.runs.url import run_path
from somagent.cli import output
from somagent.cli.command import RunArgument, command, group
from somagent.cli.connection import Api
from somagent.cli.output import amounts, color, local_time, score

app = group()


@command(app)
def explain(
    api: Api,
    run: RunArgument,
    html: Annotated[Path | None, Option(metavar="FILE", dir_okay=False, help="Write a self-contained page.")] = None,
) -> None:
    """Explain a run from its records: the request, each decision, the approvals, the cost, the outcome."""
    if html is not None:
        html.write_bytes(api.fetch(run_path(run, "explanation.html")))
        output.note(f"Written: {html}")
        if not api.json:
            return
    api.show(RunExplanation.model_validate(api.get(run_path(run, "explanation"))), _lines)


def _lines(it: RunExplanation) -> Iterator[str]:
    run = it.run
    yield f"[bold]{escape(run.capsule)}[/]  {escape(run.id)}  {color(run.status)}"
    if run.reason:
        yield f"  {escape(run.reason)}"
    yield from ("", "[bold]What was asked[/]", f"  by {escape(run.actor)}, {local_time(run.created_at)}")
    if it.intent:
        yield f"  {escape(it.intent.strip())}"
    if run.inputs:
        yield f"  inputs: {escape(_short(run.inputs))}"
    yield from ("", "[bold]What was decided[/]")
    for action in it.actions:
        yield from _action(action)
    yield from ("", "[bold]Who approved[/]")
    yield from [line for approval in it.approvals for line in _approval(approval)] or ["  Nobody was asked."]
    limit = f" of {amounts(it.account.limit)}" if it.account else ""
    yield from ("", "[bold]What it cost[/]", f"  {amounts(run.spent)}{limit}")
    for child in it.children:
        yield f"  paid for the run {escape(child)}"
    yield from ("", "[bold]What came out[/]")
    if run.pruned_at is not None:
        yield f"  Its content was deleted on {run.pruned_at:%Y-%m-%d}, as the tenant's retention says."
    else:
        yield f"  {escape(_short(run.output))}" if run.output is not None else "  No deliverable."
    for artifact in it.artifacts:
        yield f"  {escape(artifact.name)}  {artifact.size} bytes  {artifact.digest}"
    yield ""
    if it.chain.problem:
        yield f"[red]{escape(it.chain.problem)}[/]"
    else:
        yield f"[green]The receipts are whole:[/] {it.chain.receipts}, head {it.chain.head or 'nothing'}"


def _action(action: ExplainedAction) -> Iterator[str]:
    cost = amounts(action.usage)
    yield f"  [bold]{escape(action.kind)}[/] {escape(action.target)}  {action.word}  {cost}"
    for one in action.decisions:
        yield from _decision(one)
    for outcome in action.outcomes:
        if not outcome.ok:
            yield f"    [red]{escape(outcome.error or 'failed')}[/]"


def _decision(one: ActionDecision) -> Iterator[str]:
    points = f" {score(one.score)}" if one.score is not None else ""
    yield f"    {color(one.decision)}{points}  {escape(one.sentence)}  [dim]receipt {one.seq}[/]"
    for clause in one.clauses:
        yield f"      {escape(clause.id)}: {escape(clause.because)}"
    if one.approved_by:
        yield f"      approved by {escape(', '.join(one.approved_by))}"


def _approval(one: Approval) -> Iterator[str]:
    approvers = escape(one.describe_approvers())
    yield f"  {escape(one.kind)} on {escape(one.target)}: {color(one.state)}, asked of {approvers}"
    for answer in one.answers:
        delegator = f" for {answer.on_behalf_of}" if answer.on_behalf_of else ""
        comment = f": {answer.comment}" if answer.comment else ""
        yield f"    {local_time(answer.at)} {escape(answer.by + delegator)} said {answer.said}{escape(comment)}"


def _short(value: object, most: int = 600) -> str:
    text = json_format.dumps(value, ensure_ascii=False)
    return text if len(text) <= most else f"{text[:most]}… ({len(text)} characters; all of it with --json)"
