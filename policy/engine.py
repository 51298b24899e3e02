"""Judges actions: articles first, then approval rules, then the score. One decision takes tens of microseconds.

Everything is compiled once. Scores are whole parts per million, summed by NumPy in 64-bit integers, so the same action
has the same score on every machine.
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import cel
import numpy as np

from capsules.action import Action, Facts, action_variables
from capsules.digest import Digest
from capsules.errors import ConstitutionRefused, Invalid
from capsules.expressions import EVALUATION_ERRORS, compile_expression
from capsules.verdict import PPM, Contribution, Decision, Demand, Escalation, Verdict
from policy.constitution import ApprovalRule, Article, Constitution, in_ppm

SAMPLE = {
    "action": {
        "kind": "slm.chat", "target": "dialogue", "effect": "read", "reversible": True, "egress": "none",
        "data": "internal", "idempotent": True, "tokens": 1, "micro_usd": 0, "tool_calls": 0,
    },
    **Facts().variables(),
}  # fmt: skip
"""A well-formed action: every expression must evaluate on it before a constitution is used."""

_ONE_APPROVER = (Demand(),)
NUMBERS = frozenset({int, float})
"""The exact types: in Python a truth value is an int too, and must not pass for one."""

REMEMBERED = 1024
"""Contributions kept. Most features take few values, and building a model costs more than evaluating its expression."""


class ExpressionFailed(Exception):
    """An expression could not be evaluated, or gave a value outside its range; carries the clause."""


class Policy:
    """A compiled constitution."""

    def __init__(self, constitution: Constitution, digest: Digest) -> None:
        self.constitution = constitution
        self.digest = digest
        self._kinds = frozenset(constitution.kinds)
        self._weights = np.array([in_ppm(f.weight) for f in constitution.score.features], dtype=np.int64)
        self._threshold = in_ppm(constitution.score.threshold)
        self._ask_from = in_ppm(constitution.score.ask_from)
        self._features = [(f.name, _compiled(f.name, f.value)) for f in constitution.score.features]
        self._articles = [(a, _compiled(a.id, a.forbid)) for a in constitution.articles]
        self._approvals = [(a, _compiled(a.id, a.ask_when)) for a in constitution.approvals]
        self._contribution = lru_cache(maxsize=REMEMBERED)(self._new_contribution)
        programs = [program for _, program in (*self._features, *self._articles, *self._approvals)]
        self._looked_at = frozenset(name for program in programs for name in program.variables())
        self._looks_at_facts = self._looked_at != {"action"}
        self._prove_it_evaluates()

    def judge(self, action: Action, facts: Facts) -> Verdict:
        """Say allow, ask or deny. An expression that cannot be evaluated denies, and the sentence names it."""
        context = self._context(action, facts)
        try:
            values = self._values(context)
        except ExpressionFailed as failed:
            return self._verdict("deny", 0, (), (str(failed.args[0]),), str(failed))
        score = int(self._weights @ values) // PPM
        points = self._weights * values
        contributions = tuple(map(self._contribution, range(len(points)), values.tolist(), points.tolist()))
        if action.kind not in self._kinds:
            sentence = f"The constitution knows no action of kind {action.kind}, and what it does not know is denied."
            return self._verdict("deny", score, contributions, (), sentence)
        try:
            return self._decide(context, score, contributions)
        except ExpressionFailed as failed:
            return self._verdict("deny", score, contributions, (str(failed.args[0]),), str(failed))

    def _context(self, action: Action, facts: Facts) -> cel.Context:
        """Hand over what some expression looks at: converting values to the evaluator's is half of a decision."""
        variables: dict[str, Any] = facts.variables() if self._looks_at_facts else {}
        variables["action"] = action_variables(action)
        return cel.Context({name: value for name, value in variables.items() if name in self._looked_at})

    def score(self, features: "np.ndarray[Any, np.dtype[np.int64]]") -> "np.ndarray[Any, np.dtype[np.int64]]":
        """Return S for a batch.

        features: φ in parts per million, shape (actions, features), int64. Returns shape (actions,), int64.
        """
        return (features @ self._weights) // PPM

    def _decide(self, context: cel.Context, score: int, contributions: tuple[Contribution, ...]) -> Verdict:
        article = next(_holding(self._articles, context), None)
        if article is not None:
            return self._verdict("deny", score, contributions, (article.id,), f"{article.because} ({article.id})")
        if score < self._ask_from:
            sentence = f"The score {score / PPM:.2f} is below {self._ask_from / PPM:.2f}: {_weakest(contributions)}."
            return self._verdict("deny", score, contributions, (), sentence)
        asked = list(_holding(self._approvals, context))
        if asked:
            return self._ask(score, contributions, asked)
        if score < self._threshold:
            sentence = (
                f"The score {score / PPM:.2f} is below the threshold {self._threshold / PPM:.2f}, "
                f"so a person must decide: {_weakest(contributions)}."
            )
            return self._verdict("ask", score, contributions, (), sentence)
        return self._verdict(
            "allow", score, contributions, (), f"The score {score / PPM:.2f} reaches {self._threshold / PPM:.2f}."
        )

    def _ask(self, score: int, contributions: tuple[Contribution, ...], rules: list[ApprovalRule]) -> Verdict:
        later = sorted((step for rule in rules for step in rule.escalate), key=lambda step: step.after)
        verdict = self._verdict(
            "ask", score, contributions, tuple(r.id for r in rules), " ".join(f"{r.because} ({r.id})" for r in rules)
        )
        return verdict.model_copy(
            update={
                "demands": tuple(Demand(capability=r.capability, quorum=r.quorum) for r in rules),
                "escalation": tuple(Escalation(after_seconds=s.after, capability=s.capability) for s in later),
                "expires_seconds": min(rule.expires for rule in rules),
            }
        )

    def _values(self, context: cel.Context) -> "np.ndarray[Any, np.dtype[np.int64]]":
        values = []
        for name, program in self._features:
            try:
                value = program.execute(context)
            except EVALUATION_ERRORS as error:
                raise ExpressionFailed(name, f"cannot be evaluated: {error}") from error
            if type(value) not in NUMBERS or not 0 <= value <= 1:
                raise ExpressionFailed(name, f"gave {value!r}; a feature is a number from 0 to 1")
            values.append(in_ppm(value))
        return np.array(values, dtype=np.int64)

    def _new_contribution(self, feature: int, value: int, points: int) -> Contribution:
        name, _ = self._features[feature]
        weight = int(self._weights[feature])
        return Contribution.model_construct(feature=name, weight=weight, value=value, points=points // PPM)

    def _verdict(
        self,
        decision: Decision,
        score: int,
        contributions: tuple[Contribution, ...],
        clauses: tuple[str, ...],
        sentence: str,
    ) -> Verdict:
        # Everything here is ours and typed: building without validation saves a third of the decision's time.
        return Verdict.model_construct(
            decision=decision,
            score=score,
            threshold=self._threshold,
            contributions=contributions,
            clauses=clauses,
            sentence=sentence,
            demands=_ONE_APPROVER,
            escalation=(),
            sequences={},
            expires_seconds=86_400,
            constitution=self.digest,
        )

    def _prove_it_evaluates(self) -> None:
        context = cel.Context(SAMPLE)
        try:
            self._values(context)
            list(_holding(self._articles, context))
            list(_holding(self._approvals, context))
        except ExpressionFailed as failed:
            raise ConstitutionRefused(f"The constitution does not evaluate: {failed}") from failed


def _compiled(clause: str, text: str) -> cel.Program:
    try:
        return compile_expression(text)
    except Invalid as error:
        raise ConstitutionRefused(f"Clause {clause!r}: {error.message}") from error


def _holding[C: (Article, ApprovalRule)](clauses: list[tuple[C, cel.Program]], context: cel.Context) -> Iterator[C]:
    """Yield the clauses whose condition holds, in order; what comes after the last one asked for is not evaluated."""
    for clause, program in clauses:
        try:
            value = program.execute(context)
        except EVALUATION_ERRORS as error:
            raise ExpressionFailed(clause.id, f"cannot be evaluated: {error}") from error
        if value is True:
            yield clause
        elif value is not False:
            raise ExpressionFailed(clause.id, f"gave {value!r}; it must give true or false")


def _weakest(contributions: tuple[Contribution, ...]) -> str:
    """Name the features that cost most points."""
    lost = sorted(contributions, key=lambda c: c.points - c.weight)[:2]
    return ", ".join(f"{c.feature} is {c.value / PPM:.2f}" for c in lost if c.points < c.weight) or "no feature is full"
