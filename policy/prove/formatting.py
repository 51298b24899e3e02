"""Formatting of actions, verdicts, counterexamples and changes for people."""

from capsules.actions.action import Action, Facts
from capsules.actions.verdict import PPM, Verdict
from capsules.constitutions.proof import DecisionChange, Proof
from policy.language.schema import format_value
from policy.prove.comparison import DECISION_WORDS, describe_values
from policy.prove.witnesses import values_from


def format_action(action: Action, facts: Facts) -> str:
    """Return kind and target of an action, and every attribute that is not ordinary."""
    states = [f"sequences.{name} = {format_value(state)}" for name, state in facts.sequences.items()]
    return ", ".join([describe_values(values_from(action, facts)), *states])


def format_decision(verdict: Verdict) -> str:
    """Return the decision with its score and its reason."""
    return f"{DECISION_WORDS[verdict.decision]} with score {verdict.score / PPM:.6f}: {verdict.sentence}"


def format_counterexample(proof: Proof) -> tuple[str, ...]:
    """Return the counterexample of a property as lines; none for a property that is proved."""
    if proof.outcome == "proved":
        return ()
    begins = ("Take", "and") if len(proof.witnesses) > 1 else ("Take",)
    return tuple(
        line
        for begin, witness in zip(begins, proof.witnesses, strict=False)
        for line in (
            f"{begin} {format_action(witness.action, witness.facts)}.",
            f"  It is {format_decision(witness.verdict)}",
        )
    )


def format_change(change: DecisionChange) -> tuple[str, ...]:
    """Return how a class of actions is decided before and after, with the one that shows it."""
    if change.action is None or change.facts is None or change.old is None or change.new is None:
        return (change.sentence,)
    return (
        f"Take {format_action(change.action, change.facts)}.",
        f"  Before: {format_decision(change.old)}",
        f"  After:  {format_decision(change.new)}",
    )
