"""Encoder: a constitution's decision about any action as Z3 terms, with the same order of steps as the engine.

Proofs, explanations, comparisons and decisions about ranges all use this encoding.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, get_args

import z3

from capsules.actions.action import ActionKind
from capsules.actions.verdict import PPM, Decision
from policy.language.clauses import Clauses
from policy.language.constitution import in_ppm
from policy.language.schema import GUARANTEE_WORDS, Schema
from policy.language.typed_tree import Node, Opaque, walk
from policy.language.vocabulary import Words, vocabulary
from policy.language.z3_terms import Space, Term, condition_term, ppm_term

DECISIONS: tuple[Decision, ...] = ("deny", "ask", "allow")


@dataclass(frozen=True)
class EncodedDecision:
    """The decision of one constitution about the action of one space."""

    clauses: Clauses
    space: Space
    features: tuple[Term, ...]
    """φ in parts per million, Int."""
    failed: Term
    """Some feature cannot be evaluated: a free Bool, only for features that are opaque to proofs."""
    known: Term
    articles: dict[str, Term]
    approvals: dict[str, Term]
    total: Term
    """Σ wᵢ·φᵢ, Int, scaled by 10¹²."""
    low: Term
    middling: Term
    deny: Term
    ask: Term
    allow: Term

    def term_of(self, decision: Decision) -> Term:
        return {"deny": self.deny, "ask": self.ask, "allow": self.allow}[decision]

    def not_denied(self) -> dict[str, Term]:
        """Return the conditions of a decision other than deny, each by its clause."""
        conditions = {name: z3.Not(term) for name, term in self.articles.items()}
        return {"kinds": self.known, **conditions, "ask_from": z3.Not(self.low)}

    def not_asked(self) -> dict[str, Term]:
        """Return the conditions of allow, given that the action is not denied, each by its clause."""
        conditions = {name: z3.Not(term) for name, term in self.approvals.items()}
        return {**conditions, "threshold": z3.Not(self.middling)}


def space_of(many: Iterable[Clauses], *, context: z3.Context, mark: str = "", extra: Iterable[Node] = ()) -> Space:
    """Return the space that holds one action for several constitutions."""
    every = tuple(many)
    schema = Schema({path: a for clauses in every for path, a in clauses.schema.attributes.items()})
    trees = [tree for clauses in every for tree in clauses.trees()]
    words = dict(vocabulary([*trees, *extra]))
    # The kind is always read: an unknown kind is denied.
    words["action.kind"] = Words(get_args(ActionKind))
    return Space(schema, words, context, mark)


def encode(clauses: Clauses, space: Space) -> EncodedDecision:
    """Return the decision about the space's action."""
    context, score = space.context, clauses.constitution.score
    features = tuple(ppm_term(feature.tree, space) for feature in clauses.features)
    failed = z3.BoolVal(False, context)
    for feature, value in zip(clauses.features, features, strict=True):
        if any(isinstance(node, Opaque) for node in walk(feature.tree)):
            # Its value may be anything in its range, or fail: a property must hold for all of these.
            failed = z3.Or(failed, space.hidden_flag())
            space.constraints += [value >= 0, value <= PPM]
    total = z3.Sum([z3.IntVal(w, context) * f for w, f in zip(clauses.weights, features, strict=True)])
    kind = space.schema.attributes["action.kind"]
    variable = space.variable(kind)
    known = _any(
        [variable == i for i, k in enumerate(get_args(ActionKind)) if k in clauses.constitution.kinds], context
    )
    articles = {t.clause.id: condition_term(t.tree, space) for t in clauses.articles}
    approvals = {t.clause.id: condition_term(t.tree, space) for t in clauses.approvals}
    low = total < in_ppm(score.ask_from) * PPM
    middling = total < in_ppm(score.threshold) * PPM
    deny = z3.Or(z3.Not(known), failed, low, *articles.values())
    asked = z3.Or(middling, *approvals.values())
    return EncodedDecision(
        clauses, space, features, failed, known, articles, approvals, total, low, middling,
        deny=deny, ask=z3.And(z3.Not(deny), asked), allow=z3.And(z3.Not(deny), z3.Not(asked)),
    )  # fmt: skip


def encode_guarantee(encoded: EncodedDecision, node: Node) -> Term:
    """Return a guarantee's condition. Its words allowed, asked, denied and score mean this decision."""
    space = encoded.space
    score = space.hidden(0, PPM)
    space.constraints += [score * PPM <= encoded.total, (score + 1) * PPM > encoded.total]
    meaning = {"allowed": encoded.allow, "asked": encoded.ask, "denied": encoded.deny, "score": score}
    for word in GUARANTEE_WORDS:
        space.variables[word] = meaning[word]
    return condition_term(node, space)


def _any(terms: list[Any], context: z3.Context) -> Term:
    return z3.Or(*terms, context) if terms else z3.BoolVal(False, context)
