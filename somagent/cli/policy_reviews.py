"""What `somagent policy` finds out here, without a server: faults, proofs, differences and explanations.

The only module of the CLI that uses the policy engine: a reviewer need not trust the server that is to be governed.
"""

from collections.abc import Sequence
from typing import Any

from rich.markup import escape

from capsules.constitutions.proof import Difference, Proof, Review
from capsules.errors import Invalid
from policy.prove import review as reviewing
from policy.prove.difference import compare
from policy.prove.explanations import explain as explained
from policy.prove.formatting import format_change, format_counterexample
from policy.prove.hypothetical import hypothetical_action
from policy.prove.overlay import merged
from policy.prove.solver import Solver
from somagent.cli import output
from somagent.cli.exit_codes import Code
from somagent.cli.formatting import table
from somagent.cli.policy_output import outcome, show_explanation
from somagent.cli.policy_sources import Source, refuse, refusing

NEWLY = {"allow": "Newly allowed", "ask": "Newly asked", "deny": "Newly denied"}
WAS = {"allow": "allowed", "ask": "asked", "deny": "denied"}


def check(found: Source, over: Sequence[Source], *, json: bool) -> None:
    shown = over[0] if over else found
    with refusing(found, *over, json=json):
        read = reviewing.candidate(found.document, [one.document for one in over])
        metadata = shown.document["metadata"]
        checked = reviewing.checked(read, kind=shown.kind, name=metadata["name"], version=str(metadata["version"]))
    if json:
        output.emit(checked)
        return
    console = output.console()
    console.print(f"{shown.name}: {checked.kind} {checked.name}@{checked.version} reads.", markup=False, soft_wrap=True)
    console.print(
        f"{checked.articles} articles, {checked.approvals} approval rules, {checked.guarantees} guarantees; "
        f"decides on {', '.join(checked.reads)}.",
        markup=False,
        soft_wrap=True,
    )
    console.print(checked.digest, markup=False, soft_wrap=True)


def prove(found: Source, over: Sequence[Source], *, seconds: float, json: bool) -> None:
    progress = output.errors()

    def told(proof: Proof) -> None:
        if not json:
            line = f"{outcome(proof.outcome)} {proof.seconds:7.3f} s  {escape(proof.guarantee)}"
            progress.print(line, soft_wrap=True)

    with refusing(found, *over, json=json):
        candidate = reviewing.candidate(found.document, [one.document for one in over])
        review = reviewing.review(candidate, seconds=seconds, told=told)
    if json:
        output.emit(review)
    else:
        _show_review(review)
    if not review.holds:
        output.fail("This constitution cannot be activated.", code=Code.REFUTED)


def diff(old: Source, new: Source, over: Sequence[Source], *, seconds: float, json: bool) -> None:
    with refusing(old, json=json):
        before = reviewing.candidate(old.document)
    with refusing(new, *over, json=json):
        after = reviewing.candidate(new.document, [one.document for one in over])
    difference = compare(before.policy, after.policy, seconds=seconds)
    if json:
        output.emit(difference)
    else:
        show_difference(difference)


def explain(found: Source, settings: Sequence[str], *, json: bool) -> None:
    pairs = [one.partition("=") for one in settings]
    if not all(equals for _, equals, _ in pairs):
        output.fail("Write --set ATTRIBUTE=VALUE, such as --set action.egress=open.", code=Code.USAGE)
    with refusing(found, json=json):
        policy = reviewing.candidate(found.document).policy
    try:
        action, facts = hypothetical_action({name: value for name, _, value in pairs}, policy.clauses.schema)
    except Invalid as error:
        refuse(error, json=json)
    explanation = explained(Solver(policy), action, facts)
    if json:
        output.emit(explanation)
    else:
        show_explanation(explanation)


def effective(found: Source, over: Sequence[Source], *, json: bool) -> dict[str, Any]:
    """Return what overlays make of a document."""
    with refusing(found, *over, json=json):
        return merged(found.document, [one.document for one in over])


def show_counterexample(proof: dict[str, Any]) -> None:
    """Show what contradicts a property, as the API has it."""
    read = Proof.model_validate(proof)
    for line in (read.sentence, *format_counterexample(read)):
        output.console().print(f"  {line}", markup=False, soft_wrap=True)


def show_recorded_difference(difference: dict[str, Any]) -> None:
    show_difference(Difference.model_validate(difference))


def show_difference(difference: Difference) -> None:
    """Show newly allowed, asked and denied actions, the more dangerous ones first."""
    console = output.console()
    if difference.same:
        console.print("Both decide every action alike.")
        return
    order = {"allow": 0, "ask": 1, "deny": 2}
    for change in sorted(difference.changes, key=lambda one: (order[one.after], one.before)):
        if change.outcome == "none":
            continue
        console.print(f"[bold]{NEWLY[change.after]}[/], was {WAS[change.before]}:")
        for line in format_change(change):
            console.print(f"  {line}", markup=False, soft_wrap=True)
    nothing = [c for c in difference.changes if c.outcome == "none"]
    console.print(" ".join(c.sentence for c in nothing), markup=False, soft_wrap=True, style="dim")


def _show_review(review: Review) -> None:
    console = output.console()
    proofs = [*review.report.proofs, *([review.narrower] if review.narrower else [])]
    shown = table("guarantee", "outcome", "seconds")
    for proof in proofs:
        shown.add_row(escape(proof.guarantee), outcome(proof.outcome), f"{proof.seconds:.3f}")
    console.print(shown)
    for proof in proofs:
        if proof.outcome == "proved":
            continue
        console.print(f"\n{outcome(proof.outcome)} [bold]{escape(proof.guarantee)}[/]")
        for line in (proof.sentence, *format_counterexample(proof)):
            console.print(f"  {line}", markup=False, soft_wrap=True)
    proved = sum(proof.outcome == "proved" for proof in proofs)
    console.print(f"\n{proved} of {len(proofs)} proved in {review.report.seconds:.2f} s, {review.report.constitution}")
