"""Comparison of two constitutions by their decisions, not by their text.

`compare` proves, for each way in which a decision can change, that no action changes in it, or finds one that does.
`backtest` evaluates the recorded actions of real runs under a candidate.
"""

import time
from collections.abc import Iterable
from itertools import permutations
from typing import Any

import z3

from capsules.actions.verdict import PPM, Decision
from capsules.constitutions.proof import Backtest, DecisionChange, Difference, Flip, RecordedDecision
from policy.decide.engine import Policy
from policy.language.schema import ACTION_SCHEMA, Attribute, Fixed, format_value
from policy.prove.encoder import DECISIONS, encode, space_of
from policy.prove.witnesses import action_of, facts_of, search, values_of

DECISION_WORDS: dict[Decision, str] = {"allow": "allowed", "ask": "asked", "deny": "denied"}


def compare(old: Policy, new: Policy, *, seconds: float = 10.0) -> Difference:
    """Compare two constitutions. seconds: limit of each of the six questions."""
    began = time.monotonic()
    changes = tuple(_change(old, new, before, after, seconds) for before, after in permutations(DECISIONS, 2))
    return Difference(old=old.digest, new=new.digest, changes=changes, seconds=round(time.monotonic() - began, 3))


def _change(old: Policy, new: Policy, before: Decision, after: Decision, seconds: float) -> DecisionChange:
    space = space_of([old.clauses, new.clauses], context=z3.Context())
    claim = [encode(old.clauses, space).term_of(before), encode(new.clauses, space).term_of(after)]
    found = search(claim, (space,), milliseconds=int(seconds * 1000))
    turned = f"from {DECISION_WORDS[before]} to {DECISION_WORDS[after]}"
    if not found.decided:
        sentence = f"Whether an action goes {turned} is not decided within {seconds:g} s."
        return DecisionChange(before=before, after=after, outcome="not decided", sentence=sentence)
    if found.model is None:
        return DecisionChange(before=before, after=after, outcome="none", sentence=f"No action goes {turned}.")
    values = values_of(space, found.model)
    action, facts = action_of(values), facts_of(values)
    was, becomes = old.evaluate(action, facts), new.evaluate(action, facts)
    if (was.decision, becomes.decision) != (before, after):
        sentence = f"Whether an action goes {turned} is not decided: the engine does not confirm the one that Z3 found."
        return DecisionChange(before=before, after=after, outcome="not decided", sentence=sentence)
    sentence = f"Newly {DECISION_WORDS[after]}, was {DECISION_WORDS[before]}: {describe_values(values)}."
    return DecisionChange(
        before=before, after=after, outcome="found", sentence=sentence, action=action, facts=facts, old=was, new=becomes
    )


def describe_values(values: dict[str, object]) -> str:
    """Return a text of an action: kind, target, and every attribute that is not ordinary."""
    unusual = [
        f"{path} = {format_value(_shown(attribute, values[path]))}"
        for path, attribute in ACTION_SCHEMA.attributes.items()
        if path in values and values[path] != attribute.ordinary and path not in {"action.kind", "action.target"}
    ]
    return ", ".join([f"{values['action.kind']} on {values['action.target']}", *unusual])


def _shown(attribute: Attribute, value: Any) -> object:  # noqa: ANN401 - any attribute
    return value / PPM if isinstance(attribute.type, Fixed) else value


def backtest(candidate: Policy, recorded: Iterable[RecordedDecision], *, skipped: int = 0) -> Backtest:
    """Evaluate every recorded action again, on the recorded facts.

    recorded: in any order. Only the first flip of each run counts: after it, the run might have gone another way.
    skipped: how many receipts were left out because they lack the facts.
    """
    actions, runs = 0, set()
    flips: dict[str, Flip] = {}
    for record in recorded:
        actions += 1
        runs.add(record.run)
        verdict = candidate.evaluate(record.action, record.facts)
        known = flips.get(record.run)
        if verdict.decision == record.verdict.decision or (known is not None and known.seq <= record.seq):
            continue
        flips[record.run] = Flip(
            run=record.run,
            seq=record.seq,
            at=record.at,
            action=record.action,
            before=record.verdict.decision,
            after=verdict.decision,
            sentence=verdict.sentence,
        )
    return Backtest(
        candidate=candidate.digest,
        runs=len(runs),
        actions=actions,
        flips=tuple(sorted(flips.values(), key=lambda flip: (flip.at, flip.run), reverse=True)),
        skipped=skipped,
    )
