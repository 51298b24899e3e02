"""Proofs of sequences: transitions are deterministic and possible, and every state is reached."""

from collections.abc import Callable, Iterator
from itertools import combinations

import z3

from capsules.constitutions.proof import Proof
from policy.language.clauses import Clauses, TypedClause
from policy.language.constitution import Sequence, Transition
from policy.language.z3_terms import condition_term
from policy.prove.encoder import space_of

Claim = Callable[..., Proof]


def prove_sequences(clauses: Clauses, prove_none: Claim, prove_some: Claim) -> Iterator[Proof]:
    """Yield the proofs of every sequence. That it ends needs none: it takes one step for one action."""
    for sequence, moves in clauses.transitions:
        for one, other in combinations(moves, 2):
            if one.clause.start == other.clause.start and one.clause.to != other.clause.to:
                yield _disjoint(clauses, sequence, one, other, prove_none)
        for move in moves:
            yield _possible(clauses, sequence, move, prove_some)
        yield from _unreachable(sequence)


def _disjoint(
    clauses: Clauses,
    sequence: Sequence,
    one: TypedClause[Transition],
    other: TypedClause[Transition],
    prove_none: Claim,
) -> Proof:
    space = space_of([clauses], context=z3.Context())
    start, there, elsewhere = one.clause.start, one.clause.to, other.clause.to
    return prove_none(
        f"{sequence.id}-{start}-is-deterministic",
        [condition_term(one.tree, space), condition_term(other.tree, space)],
        space,
        proved=f"In state {start!r}, {sequence.id} goes to {there!r} or {elsewhere!r}, never both.",
        refuted=f"In state {start!r}, one action moves {sequence.id} to both {there!r} and {elsewhere!r}",
    )


def _possible(clauses: Clauses, sequence: Sequence, move: TypedClause[Transition], prove_some: Claim) -> Proof:
    space = space_of([clauses], context=z3.Context())
    return prove_some(
        f"{sequence.id}-{move.clause.start}-to-{move.clause.to}-can-happen",
        [condition_term(move.tree, space)],
        space,
        proved=f"Some action moves {sequence.id} from {move.clause.start!r} to {move.clause.to!r}.",
        refuted=f"No action ever moves {sequence.id} from {move.clause.start!r} to {move.clause.to!r}.",
    )


def _unreachable(sequence: Sequence) -> Iterator[Proof]:
    reached, edge = {sequence.start}, {sequence.start}
    while edge:
        edge = {t.to for t in sequence.transitions if t.start in edge} - reached
        reached |= edge
    for state in sequence.states:
        if state not in reached:
            yield Proof(
                guarantee=f"{sequence.id}-{state}-is-reached",
                outcome="refuted",
                sentence=f"No transition leads {sequence.id} from {sequence.start!r} to {state!r}.",
            )
