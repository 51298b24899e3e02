"""Decision engine: articles first, then approval rules, then the score. A decision takes a few microseconds.

An expression is a pure function of the attributes it reads, so its value is cached by their equivalence classes and
only new classes are evaluated. Scores are whole parts per million, summed by NumPy in 64-bit integers: the same action
has the same score on every machine.
"""

from collections.abc import Callable, Iterator
from typing import Any

from capsules.actions.action import Action, Facts
from capsules.actions.verdict import PPM, Contribution, Decision, Demand, Escalation, Verdict
from capsules.base_model import fast_model
from capsules.bounded_cache import BoundedCache
from capsules.digest import Digest
from capsules.errors import ConstitutionRefused
from policy.decide.equivalence_classes import CACHE_SIZE
from policy.decide.evaluation import (
    AttributeReader,
    Evaluator,
    ExpressionFailed,
    Values,
    check_condition,
    check_feature,
    evaluator,
)
from policy.decide.score import Scorer
from policy.language.clauses import Clauses, TypedClause, type_clauses
from policy.language.constitution import ApprovalRule, Article, Constitution, in_ppm

_FIELDS = set(Verdict.model_fields)
_DEFAULTS: dict[str, Any] = {
    name: Verdict.model_fields[name].default for name in ("demands", "escalation", "expires_seconds")
}
ConditionEvaluator = Evaluator[bool]


class Policy:
    """A compiled constitution."""

    def __init__(self, constitution: Constitution, digest: Digest) -> None:
        self.constitution = constitution
        self.digest = digest
        self.clauses: Clauses = type_clauses(constitution)
        self.reads: frozenset[str] = self.clauses.reads()
        """Paths of every attribute that a decision depends on."""
        transitions = (clause for _, clauses in self.clauses.transitions for clause in clauses)
        clauses = (*self.clauses.features, *self.clauses.articles, *self.clauses.approvals, *transitions)
        self._reader = AttributeReader(self.clauses.schema, sorted(self.reads), (clause.tree for clause in clauses))
        self._kinds = frozenset(constitution.kinds)
        self._kind_at = self._reader.position("action.kind")
        self._threshold = in_ppm(constitution.score.threshold)
        self._ask_from = in_ppm(constitution.score.ask_from)
        features = (
            evaluator(t.clause.name, t.text, t.tree, self._reader, checked=check_feature) for t in self.clauses.features
        )
        self._scoring = Scorer(tuple(features), self.clauses.weights, self._reader)
        self._articles = self._conditions(self.clauses.articles, lambda article: article.id)
        self._approvals = self._conditions(self.clauses.approvals, lambda rule: rule.id)
        self._transitions = tuple(
            (sequence, self._conditions(transitions, lambda t, s=sequence: f"{s.id}/{t.to}"))  # type: ignore[misc]
            for sequence, transitions in self.clauses.transitions
        )
        rules = [condition for _, condition in (*self._articles, *self._approvals)]
        self._rule_classes = self._reader.selector(frozenset().union(*(rule.reads for rule in rules)))
        self._rules_cacheable = not any(rule.computes for rule in rules)
        self._matching_cache = BoundedCache[Any, tuple[Article | None, tuple[ApprovalRule, ...]]](CACHE_SIZE)
        self._check_evaluation()

    def evaluate(self, action: Action, facts: Facts) -> Verdict:
        """Return the verdict. An expression that cannot be evaluated denies, and the sentence names its clause."""
        values = self._reader.values(action, facts)
        classes = self._reader.classes(values)
        score = 0
        contributions: tuple[Contribution, ...] = ()
        try:
            score, contributions = self._scoring.score(values, classes)
            kind = values[self._kind_at]
            if kind not in self._kinds:
                sentence = f"The constitution knows no action of kind {kind}, and what it does not know is denied."
                return self._verdict("deny", score, contributions, ("kinds",), sentence)
            return self._decide(values, classes, score, contributions)
        except ExpressionFailed as failed:
            return self._verdict("deny", score, contributions, (str(failed.args[0]),), str(failed))

    def _conditions[C](
        self, clauses: tuple[TypedClause[C], ...], name: Callable[[C], str]
    ) -> tuple[tuple[C, ConditionEvaluator], ...]:
        return tuple(
            (t.clause, evaluator(name(t.clause), t.text, t.tree, self._reader, checked=check_condition))
            for t in clauses
        )

    def _decide(self, values: Values, classes: Values, score: int, contributions: tuple[Contribution, ...]) -> Verdict:
        article, rules = self._matching_rules(values, classes)
        if article is not None:
            return self._verdict("deny", score, contributions, (article.id,), f"{article.because} ({article.id})")
        if score < self._ask_from:
            sentence = (
                f"The score {score / PPM:.2f} is below {self._ask_from / PPM:.2f}: {_describe_weakest(contributions)}."
            )
            return self._verdict("deny", score, contributions, (), sentence)
        after = self._next_states(values, classes) if self._transitions else {}
        if rules:
            return self._ask(score, contributions, rules, after)
        if score < self._threshold:
            sentence = (
                f"The score {score / PPM:.2f} is below the threshold {self._threshold / PPM:.2f}, "
                f"so a person must decide: {_describe_weakest(contributions)}."
            )
            return self._verdict("ask", score, contributions, (), sentence, sequences=after)
        sentence = f"The score {score / PPM:.2f} reaches {self._threshold / PPM:.2f}."
        return self._verdict("allow", score, contributions, (), sentence, sequences=after)

    def _matching_rules(self, values: Values, classes: Values) -> tuple[Article | None, tuple[ApprovalRule, ...]]:
        """Return the first article that holds, else the approval rules that do; cached by classes."""
        key = self._rule_classes(classes)
        found = self._matching_cache.get(key) if self._rules_cacheable else None
        if found is None:
            article = next(_matching(self._articles, values, classes), None)
            found = (article, () if article else tuple(_matching(self._approvals, values, classes)))
            self._matching_cache[key] = found
        return found

    def _next_states(self, values: Values, classes: Values) -> dict[str, str]:
        """Return the state of each sequence after this action."""
        states = {}
        for sequence, transitions in self._transitions:
            state = values[self._reader.position(f"sequences.{sequence.id}")]
            taken = next((t for t in _matching(transitions, values, classes) if t.start == state), None)
            states[sequence.id] = taken.to if taken is not None else state
        return states

    def _ask(
        self,
        score: int,
        contributions: tuple[Contribution, ...],
        rules: tuple[ApprovalRule, ...],
        after: dict[str, str],
    ) -> Verdict:
        later = sorted((step for rule in rules for step in rule.escalate), key=lambda step: step.after)
        return self._verdict(
            "ask",
            score,
            contributions,
            tuple(rule.id for rule in rules),
            " ".join(f"{rule.because} ({rule.id})" for rule in rules),
            sequences=after,
            demands=tuple(Demand(capability=rule.capability, quorum=rule.quorum) for rule in rules),
            escalation=tuple(Escalation(after_seconds=s.after, capability=s.capability) for s in later),
            expires_seconds=min(rule.expires for rule in rules),
        )

    def _verdict(
        self,
        decision: Decision,
        score: int,
        contributions: tuple[Contribution, ...],
        clauses: tuple[str, ...],
        sentence: str,
        **other: Any,  # noqa: ANN401 - fields that are not their default
    ) -> Verdict:
        fields = {
            **_DEFAULTS,
            "decision": decision,
            "score": score,
            "threshold": self._threshold,
            "contributions": contributions,
            "clauses": clauses,
            "sentence": sentence,
            "sequences": {},
            "constitution": self.digest,
            **other,
        }
        return fast_model(Verdict, _FIELDS, fields)

    def _check_evaluation(self) -> None:
        """Evaluate an ordinary action. Raises ConstitutionRefused for one that the evaluator does not accept."""
        values = self._reader.ordinary()
        classes = self._reader.classes(values)
        try:
            self._scoring.score(values, classes)
            for group in (self._articles, self._approvals, *(transitions for _, transitions in self._transitions)):
                list(_matching(group, values, classes))
        except ExpressionFailed as failed:
            raise ConstitutionRefused(f"The constitution does not evaluate: {failed}") from failed


def _matching[C](clauses: tuple[tuple[C, ConditionEvaluator], ...], values: Values, classes: Values) -> Iterator[C]:
    """Yield the clauses whose condition holds, in order; evaluates no further than the caller iterates."""
    return (clause for clause, condition in clauses if condition.value(values, classes))


def _describe_weakest(contributions: tuple[Contribution, ...]) -> str:
    """Return a text of the two features that lost most points."""
    lost = sorted(contributions, key=lambda c: c.points - c.weight)[:2]
    return ", ".join(f"{c.feature} is {c.value / PPM:.2f}" for c in lost if c.points < c.weight) or "no feature is full"
