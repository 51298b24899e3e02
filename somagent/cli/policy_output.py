"""How `somagent policy` writes outcomes and explanations."""

from rich.markup import escape

from capsules.actions.verdict import PPM
from capsules.constitutions.proof import Explanation
from somagent.cli import output
from somagent.cli.formatting import colored, table

OUTCOMES = {"proved": "[green]proved[/]", "refuted": "[red]refuted[/]", "not proved": "[yellow]not proved[/]"}
DECIDED = {"allow": "[green]allowed[/]", "ask": "[magenta]asked[/]", "deny": "[red]denied[/]"}


def outcome(word: str) -> str:
    return OUTCOMES.get(word, word)


def show_explanation(explanation: Explanation) -> None:
    """Show a decision, the clauses that force it, what would help, and who can approve."""
    verdict, console = explanation.verdict, output.console()
    score, threshold = (f"{value / PPM:.6f}" for value in (verdict.score, verdict.threshold))
    console.print(f"{colored(verdict.decision)}  score {score}, threshold {threshold}")
    console.print(verdict.sentence, markup=False, soft_wrap=True)
    shown = table("feature", "weight", "value", "points")
    for part in verdict.contributions:
        shown.add_row(part.feature, *(f"{value / PPM:.6f}" for value in (part.weight, part.value, part.points)))
    console.print(shown)
    for citation in explanation.cited:
        rests = ", ".join(f"{path} = {value}" for path, value in citation.attributes.items())
        console.print(f"because of [bold]{escape(citation.clause)}[/]: {escape(rests)}", soft_wrap=True)
    if explanation.advised is not None and explanation.advice:
        would = DECIDED[explanation.advised.verdict.decision]
        console.print(f"with these changes it would be {would}:")
        for one in explanation.advice:
            console.print(f"  {one.attribute}: {one.now} -> {one.to}", markup=False, soft_wrap=True)
    elif verdict.decision != "allow":
        console.print("No change that a caller can make would help.")
    for capability in explanation.approvers:
        console.print(f"who has {capability} can approve it", markup=False, soft_wrap=True)
