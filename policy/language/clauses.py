"""Typed clauses of a constitution: the engine evaluates them and the proofs reason about them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from capsules.errors import DocumentPath, Invalid
from policy.language.constitution import (
    ApprovalRule,
    Article,
    Constitution,
    Feature,
    Guarantee,
    Sequence,
    Transition,
    in_ppm,
)
from policy.language.schema import Schema, guarantee_schema, sequence_schema
from policy.language.type_checker import require_provable, type_condition, type_number
from policy.language.typed_tree import Node, reads
from policy.language.validation_errors import constitution_error, validation_error


@dataclass(frozen=True)
class TypedClause[C]:
    """A clause and its expression as a tree."""

    clause: C
    tree: Node
    text: str


@dataclass(frozen=True)
class Clauses:
    """Every clause of one constitution, typed against one schema."""

    constitution: Constitution
    schema: Schema
    features: tuple[TypedClause[Feature], ...]
    articles: tuple[TypedClause[Article], ...]
    approvals: tuple[TypedClause[ApprovalRule], ...]
    guarantees: tuple[TypedClause[Guarantee], ...]
    transitions: tuple[tuple[Sequence, tuple[TypedClause[Transition], ...]], ...]

    @property
    def weights(self) -> list[int]:
        return [in_ppm(feature.clause.weight) for feature in self.features]

    def trees(self) -> Iterator[Node]:
        """Yield the tree of every expression of the clauses."""
        for typed in (*self.features, *self.articles, *self.approvals, *self.guarantees):
            yield typed.tree
        for _, moves in self.transitions:
            yield from (move.tree for move in moves)

    def reads(self) -> frozenset[str]:
        """Return the path of every attribute that a decision reads."""
        deciding = [t.tree for t in (*self.features, *self.articles, *self.approvals)]
        deciding += [move.tree for _, moves in self.transitions for move in moves]
        kept = {f"sequences.{sequence.id}" for sequence, _ in self.transitions}
        return frozenset({"action.kind"} | kept).union(*map(reads, deciding))


def type_clauses(constitution: Constitution) -> Clauses:
    """Type every expression. Raises ConstitutionRefused that names every clause that is wrong, with line and column."""
    schema = sequence_schema({s.id: s.states for s in constitution.sequences})
    problems: list[dict[str, Any]] = []

    def each[C](clauses: tuple[C, ...], at: DocumentPath, field: str, name: Callable[[C], str],
                read: Callable[[str], Node]) -> tuple[TypedClause[C], ...]:  # fmt: skip
        found = []
        for index, clause in enumerate(clauses):
            expression: str | None = getattr(clause, field)
            if expression is None:
                continue
            try:
                found.append(TypedClause(clause, read(expression), expression))
            except Invalid as error:
                problems.append(validation_error((*at, index, field), error.message, clause=name(clause)))
        return tuple(found)

    def read_provable(text: str) -> Node:
        return require_provable(type_condition(text, schema))

    words = guarantee_schema(schema)
    features = each(
        constitution.score.features, ("score", "features"), "value", _name, lambda text: type_number(text, schema)
    )
    articles = each(constitution.articles, ("articles",), "forbid", _id, read_provable)
    approvals = each(constitution.approvals, ("approvals",), "ask_when", _id, read_provable)
    guarantees = each(
        constitution.guarantees,
        ("guarantees",),
        "never",
        _id,
        lambda text: require_provable(type_condition(text, words)),
    )
    transitions = tuple(
        (s, each(s.transitions, ("sequences", n, "transitions"), "when", lambda t, s=s: f"{s.id}: {t.start} -> {t.to}",  # type: ignore[misc]
                 read_provable))
        for n, s in enumerate(constitution.sequences)
    )  # fmt: skip
    problems += [
        validation_error(("guarantees", n, "raising"), f"there is no attribute {g.raising!r} to raise", clause=g.id)
        for n, g in enumerate(constitution.guarantees)
        if g.raising is not None and g.raising not in schema.attributes
    ]
    if problems:
        raise constitution_error("The constitution does not hold together", problems)
    return Clauses(constitution, schema, features, articles, approvals, guarantees, transitions)


def _id(clause: Any) -> str:  # noqa: ANN401 - article, approval rule or guarantee
    return str(clause.id)


def _name(feature: Feature) -> str:
    return feature.name
