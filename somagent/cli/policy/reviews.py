"""Reviews of constitutions on this machine, without a server: problems, proofs, differences and explanations.

The only module of the CLI that uses the policy engine. A reviewer does not have to trust the governed server.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from rich.markup import escape

from capsules.constitutions.proof import CheckedConstitution, Difference, Proof, Review
from policy.prove import review as reviewing
from policy.prove.comparison import compare
from policy.prove.explanations import explain as explain_action
from policy.prove.formatting import format_change, format_counterexample
from policy.prove.hypothetical import hypothetical_action
from policy.prove.overlay import apply_overlays
from policy.prove.solver import Solver
from somagent.cli import output
from somagent.cli.connection import Api
from somagent.cli.exit_codes import Code
from somagent.cli.output import Lines, color, table
from somagent.cli.policy.history import PAST, explanation_lines
from somagent.cli.policy.sources import Source, placed_problems


def check(api: Api, found: Source, over: Sequence[Source]) -> None:
    """Write the contents of a constitution or overlay. Raises Invalid with every problem and its place."""
    subject = over[0] if over else found
    with placed_problems(found, *over):
        candidate = _candidate(found, over)
        metadata = subject.document["metadata"]
        name, version = metadata["name"], str(metadata["version"])
        checked = reviewing.summarize(candidate, kind=subject.kind, name=name, version=version)
    api.show(checked, lambda it: map(escape, _checked_lines(subject.name, it)))


def prove(api: Api, found: Source, over: Sequence[Source], *, seconds: float) -> None:
    """Prove every guarantee within `seconds` each. Ends the command with exit code 10 when one is not proved."""
    progress = output.console(errors=True)

    def write(proof: Proof) -> None:
        if not api.json:
            line = f"{color(proof.outcome)} {proof.seconds:7.3f} s  {escape(proof.guarantee)}"
            progress.print(line, soft_wrap=True)

    with placed_problems(found, *over):
        review = reviewing.review(_candidate(found, over), seconds=seconds, on_proof=write)
    api.show(review, _review_lines)
    if not review.holds:
        output.fail("This constitution cannot be activated.", code=Code.REFUTED)


def diff(api: Api, old: Source, new: Source, over: Sequence[Source], *, seconds: float) -> None:
    """Write the difference of two constitutions. Each kind of change is searched for at most `seconds`."""
    with placed_problems(old):
        before = _candidate(old)
    with placed_problems(new, *over):
        after = _candidate(new, over)
    api.show(compare(before.policy, after.policy, seconds=seconds), difference_lines)


def explain(api: Api, found: Source, settings: Sequence[str]) -> None:
    """Explain a hypothetical action, given as `attribute=value` texts."""
    pairs = [one.partition("=") for one in settings]
    if not all(equals for _, equals, _ in pairs):
        output.fail("Write --set ATTRIBUTE=VALUE, such as --set action.egress=open.", code=Code.USAGE)
    with placed_problems(found):
        policy = _candidate(found).policy
    action, facts = hypothetical_action({name: value for name, _, value in pairs}, policy.clauses.schema)
    api.show(explain_action(Solver(policy), action, facts), explanation_lines)


def effective(found: Source, over: Sequence[Source]) -> dict[str, Any]:
    """Return a constitution's document with its overlays applied. Raises Invalid with every problem and its place."""
    with placed_problems(found, *over):
        return apply_overlays(found.document, [one.document for one in over])


def proof_lines(proof: Proof) -> Lines:
    """Yield a failed proof and its counterexample."""
    yield f"{color(proof.outcome)} [bold]{escape(proof.guarantee)}[/]"
    for line in (proof.sentence, *format_counterexample(proof)):
        yield escape(f"  {line}")


def difference_lines(difference: Difference) -> Lines:
    """Yield newly allowed, asked and denied actions, the more dangerous changes first."""
    if difference.same:
        yield "Both decide every action alike."
        return
    order = list(PAST)
    for change in sorted(difference.changes, key=lambda one: (order.index(one.after), one.before)):
        if change.outcome != "none":
            yield f"[bold]Newly {PAST[change.after]}[/], was {PAST[change.before]}:"
            yield from (escape(f"  {line}") for line in format_change(change))
    nothing = " ".join(change.sentence for change in difference.changes if change.outcome == "none")
    yield f"[dim]{escape(nothing)}[/]"


def _candidate(found: Source, over: Sequence[Source] = ()) -> reviewing.Candidate:
    return reviewing.load_candidate(found.document, [one.document for one in over])


def _checked_lines(source: str, it: CheckedConstitution) -> Iterator[str]:
    yield f"{source}: {it.kind} {it.name}@{it.version} is readable."
    counts = f"{it.articles} articles, {it.approvals} approval rules, {it.guarantees} guarantees"
    yield f"{counts}; decides on {', '.join(it.reads)}."
    yield it.digest


def _review_lines(review: Review) -> Lines:
    proofs = [*review.report.proofs, *([review.narrower] if review.narrower else [])]
    yield from table(
        "guarantee",
        "outcome",
        "seconds",
        row=lambda proof: (escape(proof.guarantee), color(proof.outcome), f"{proof.seconds:.3f}"),
    )(proofs)
    for proof in proofs:
        if proof.outcome != "proved":
            yield ""
            yield from proof_lines(proof)
    proved = sum(proof.outcome == "proved" for proof in proofs)
    yield f"\n{proved} of {len(proofs)} proved in {review.report.seconds:.2f} s, {review.report.constitution}"
