"""A constitution whose every expression is typed: what the engine evaluates and the proofs reason about."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from capsules.errors import ConstitutionRefused, Invalid
from policy.constitution import ApprovalRule, Article, Constitution, Feature, Guarantee, Sequence, Transition, in_ppm
from policy.language.reading import condition, number, provable
from policy.language.schema import Schema, for_guarantees, with_sequences
from policy.language.tree import Node, reads


@dataclass(frozen=True)
class Typed[C]:
    """A clause and its expression as a tree."""

    clause: C
    tree: Node
    text: str


@dataclass(frozen=True)
class Clauses:
    """Every clause of one constitution, typed against one schema."""

    constitution: Constitution
    schema: Schema
    features: tuple[Typed[Feature], ...]
    articles: tuple[Typed[Article], ...]
    approvals: tuple[Typed[ApprovalRule], ...]
    guarantees: tuple[Typed[Guarantee], ...]
    transitions: tuple[tuple[Sequence, tuple[Typed[Transition], ...]], ...]

    @property
    def weights(self) -> list[int]:
        return [in_ppm(feature.clause.weight) for feature in self.features]

    def trees(self) -> Iterator[Node]:
        """Yield every expression that a decision or a guarantee looks at."""
        for typed in (*self.features, *self.articles, *self.approvals, *self.guarantees):
            yield typed.tree
        for _, moves in self.transitions:
            yield from (move.tree for move in moves)

    def reads(self) -> frozenset[str]:
        """Return the paths of every attribute that a decision looks at."""
        deciding = [t.tree for t in (*self.features, *self.articles, *self.approvals)]
        deciding += [move.tree for _, moves in self.transitions for move in moves]
        kept = {f"sequences.{sequence.id}" for sequence, _ in self.transitions}
        return frozenset({"action.kind"} | kept).union(*map(reads, deciding))


def typed(constitution: Constitution) -> Clauses:
    """Type every expression. Raises ConstitutionRefused that names every clause that is wrong, with line and column."""
    schema = with_sequences({s.id: s.states for s in constitution.sequences})
    problems: list[str] = []

    def each[C](clauses: tuple[C, ...], name: Callable[[C], str], text: Callable[[C], str | None],
                read: Callable[[str], Node]) -> tuple[Typed[C], ...]:  # fmt: skip
        found = []
        for clause in clauses:
            expression = text(clause)
            if expression is None:
                continue
            try:
                found.append(Typed(clause, read(expression), expression))
            except Invalid as error:
                problems.append(f"Clause {name(clause)!r}: {error.message}")
        return tuple(found)

    def hard(text: str) -> Node:
        return provable(condition(text, schema))

    words = for_guarantees(schema)
    features = each(constitution.score.features, _name, lambda f: f.value, lambda text: number(text, schema))
    articles = each(constitution.articles, _id, lambda a: a.forbid, hard)
    approvals = each(constitution.approvals, _id, lambda a: a.ask_when, hard)
    guarantees = each(constitution.guarantees, _id, lambda g: g.never, lambda text: provable(condition(text, words)))
    transitions = tuple(
        (s, each(s.transitions, lambda t: f"{t.start} -> {t.to}", lambda t: t.when, hard))
        for s in constitution.sequences
    )
    problems += [
        f"Clause {g.id!r}: there is no attribute {g.raising!r} to raise"
        for g in constitution.guarantees
        if g.raising is not None and g.raising not in schema.attributes
    ]
    if problems:
        raise ConstitutionRefused(" ".join(f"{problem}." for problem in problems), problems=problems)
    return Clauses(constitution, schema, features, articles, approvals, guarantees, transitions)


def _id(clause: Any) -> str:  # noqa: ANN401 - article, approval rule or guarantee
    return str(clause.id)


def _name(feature: Feature) -> str:
    return feature.name
