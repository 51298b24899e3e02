"""Proofs of a constitution: its guarantees, and properties that every constitution must have.

A claim is proved when no action contradicts it. The engine evaluates each contradiction that Z3 finds before it is
reported, so a counterexample is a fact about the code that decides, not only about its model.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import combinations

import z3

from capsules.actions.action import action_variables
from capsules.actions.verdict import PPM
from capsules.constitutions.proof import Proof, ProofOutcome, ProofReport, Witness
from capsules.digest import Digest
from capsules.expressions import compile_expression
from policy.decide.engine import Policy
from policy.language.clauses import Clauses, TypedClause
from policy.language.constitution import Constitution, Guarantee, Sequence, Transition
from policy.language.schema import Flag
from policy.language.z3_terms import Space, Term, condition_term
from policy.prove.encoder import EncodedDecision, encode, encode_guarantee, space_of
from policy.prove.witnesses import SearchResult, search, witness

Confirmation = Callable[[tuple[Witness, ...]], bool]
"""Returns whether the engine's verdicts about the witnesses confirm the claim."""

SECONDS = 10.0
"""How long one property may take before it is not proved."""


def prove(constitution: Constitution, digest: Digest, *, seconds: float = SECONDS) -> ProofReport:
    """Return every proof that activation needs. Raises ConstitutionRefused when an expression is wrong.

    seconds: limit of each property.
    """
    began = time.monotonic()
    policy = Policy(constitution, digest)
    proofs = tuple(each_proof(policy, seconds=seconds))
    return ProofReport(constitution=digest, proofs=proofs, seconds=round(time.monotonic() - began, 3))


def each_proof(policy: Policy, *, seconds: float = SECONDS) -> Iterator[Proof]:
    """Yield the proof of each property as soon as it is known."""
    yield from _Prover(policy, seconds).every()


@dataclass
class _Prover:
    policy: Policy
    seconds: float

    def every(self) -> Iterator[Proof]:
        yield from self._ranges()
        yield self._something_is_allowed()
        yield from self._clauses_live()
        yield from self._sequences()
        for guarantee in self.clauses.constitution.guarantees:
            tree = next((t for t in self.clauses.guarantees if t.clause.id == guarantee.id), None)
            yield self._never(tree) if tree is not None else self._monotone(guarantee)

    @property
    def clauses(self) -> Clauses:
        return self.policy.clauses

    def _fresh(self, mark: str = "") -> tuple[Space, EncodedDecision]:
        space = space_of([self.clauses], context=z3.Context(), mark=mark)
        return space, encode(self.clauses, space)

    def _ranges(self) -> Iterator[Proof]:
        """Prove that every feature is from 0 to 1. Outside, the engine denies, which is never intended."""
        for number, feature in enumerate(self.clauses.features):
            space, encoded = self._fresh()
            value = encoded.features[number]
            yield self._prove_none(
                f"{feature.clause.name}-in-range",
                [z3.Or(value < 0, value > PPM)],
                space,
                proved=f"{feature.clause.name} is between 0 and 1 for every action.",
                refuted=f"{feature.clause.name} leaves the range from 0 to 1, which denies",
            )

    def _something_is_allowed(self) -> Proof:
        space, encoded = self._fresh()
        return self._prove_some(
            "something-is-allowed",
            [encoded.allow],
            space,
            proved="Some action is allowed.",
            refuted="No action at all is allowed: the clauses or the threshold swallow everything.",
        )

    def _clauses_live(self) -> Iterator[Proof]:
        """Prove that every clause can hold, and that no article always holds."""
        names = [("article", name) for name in (t.clause.id for t in self.clauses.articles)]
        names += [("approval rule", name) for name in (t.clause.id for t in self.clauses.approvals)]
        for kind, name in names:
            space, encoded = self._fresh()
            term = {**encoded.articles, **encoded.approvals}[name]
            yield self._prove_some(
                f"{name}-can-hold",
                [term],
                space,
                proved=f"Some action meets the {kind} {name!r}.",
                refuted=f"The {kind} {name!r} is dead: no action ever meets it.",
            )
            if kind == "article":
                space, encoded = self._fresh()
                yield self._prove_some(
                    f"{name}-spares-some",
                    [z3.Not(encoded.articles[name])],
                    space,
                    proved=f"The article {name!r} does not forbid everything.",
                    refuted=f"The article {name!r} forbids every action.",
                )

    def _sequences(self) -> Iterator[Proof]:
        """Prove that transitions are deterministic and possible, and that every state is reached."""
        for sequence, moves in self.clauses.transitions:
            for one, other in combinations(moves, 2):
                if one.clause.start == other.clause.start and one.clause.to != other.clause.to:
                    yield self._disjoint(sequence, one, other)
            for move in moves:
                yield self._possible(sequence, move)
            yield from _unreachable(sequence)

    def _disjoint(self, sequence: Sequence, one: TypedClause[Transition], other: TypedClause[Transition]) -> Proof:
        space = space_of([self.clauses], context=z3.Context())
        start, there, elsewhere = one.clause.start, one.clause.to, other.clause.to
        return self._prove_none(
            f"{sequence.id}-{start}-is-deterministic",
            [condition_term(one.tree, space), condition_term(other.tree, space)],
            space,
            proved=f"In state {start!r}, {sequence.id} goes to {there!r} or {elsewhere!r}, never both.",
            refuted=f"In state {start!r}, one action moves {sequence.id} to both {there!r} and {elsewhere!r}",
        )

    def _possible(self, sequence: Sequence, move: TypedClause[Transition]) -> Proof:
        space = space_of([self.clauses], context=z3.Context())
        start, to = move.clause.start, move.clause.to
        return self._prove_some(
            f"{sequence.id}-{start}-to-{to}-can-happen",
            [condition_term(move.tree, space)],
            space,
            proved=f"Some action moves {sequence.id} from {start!r} to {to!r}.",
            refuted=f"No action ever moves {sequence.id} from {start!r} to {to!r}.",
        )

    def _never(self, guarantee: TypedClause[Guarantee]) -> Proof:
        space, encoded = self._fresh()
        contradicted = encode_guarantee(encoded, guarantee.tree)

        def confirms(witnesses: tuple[Witness, ...]) -> bool:
            return condition_holds(guarantee.text, witnesses[0])

        return self._prove_none(
            guarantee.clause.id,
            [contradicted],
            space,
            proved=f"For no action holds: {guarantee.text}.",
            refuted=f"For an action holds what never should: {guarantee.text}",
            confirms=confirms,
        )

    def _monotone(self, guarantee: Guarantee) -> Proof:
        path, flip = str(guarantee.raising), str(guarantee.never_flips)
        before, after = flip.split("_to_")
        milder, first = self._fresh()
        worse = space_of([self.clauses], context=milder.context, mark="raised ")
        second = encode(self.clauses, worse)
        attribute = milder.schema.attributes[path]
        if path not in milder.variables:
            return Proof(
                guarantee=guarantee.id,
                outcome="proved",
                sentence=f"No clause looks at {path}, so raising it changes nothing.",
            )
        same = [milder.variables[p] == worse.variables[p] for p in milder.variables if p != path]
        same += [milder.present[p] == worse.present[p] for p in milder.present]
        claim = [*same, _raised_term(attribute.type, milder.variables[path], worse.variables[path])]
        found, spent = self._search([*claim, first.term_of(before), second.term_of(after)], milder, worse)  # type: ignore[arg-type]
        texts = (
            f"Raising {path} never turns {before} into {after}.",
            f"Raising {path} turns {before} into {after}: the two actions differ in nothing else.",
        )

        def confirms(witnesses: tuple[Witness, ...]) -> bool:
            return [witness.verdict.decision for witness in witnesses] == [before, after]

        return self._proof(guarantee.id, found, spent, (milder, worse), refutes=True, texts=texts, confirms=confirms)

    def _prove_none(  # noqa: PLR0913
        self,
        name: str,
        claim: list[Term],
        space: Space,
        *,
        proved: str,
        refuted: str,
        confirms: Confirmation | None = None,
    ) -> Proof:
        found, spent = self._search(claim, space)
        return self._proof(name, found, spent, (space,), refutes=True, texts=(proved, f"{refuted}."), confirms=confirms)

    def _prove_some(self, name: str, claim: list[Term], space: Space, *, proved: str, refuted: str) -> Proof:
        found, spent = self._search(claim, space)
        return self._proof(name, found, spent, (space,), refutes=False, texts=(proved, refuted))

    def _search(self, claim: list[Term], *spaces: Space) -> tuple[SearchResult, float]:
        began = time.monotonic()
        found = search(claim, spaces, milliseconds=int(self.seconds * 1000))
        return found, round(time.monotonic() - began, 3)

    def _proof(  # noqa: PLR0913
        self,
        name: str,
        found: SearchResult,
        spent: float,
        spaces: tuple[Space, ...],
        *,
        refutes: bool,
        texts: tuple[str, str],
        confirms: Confirmation | None = None,
    ) -> Proof:
        proved, refuted = texts
        if not found.decided:
            why = f"Not decided within {self.seconds:g} s; simplify the clauses, or allow more time."
            return Proof(guarantee=name, outcome="not proved", sentence=why, seconds=spent)
        holds = (found.model is None) == refutes
        witnesses = () if found.model is None else tuple(witness(self.policy, space, found) for space in spaces)
        if witnesses and confirms is not None and not confirms(witnesses):
            why = "Z3 found a contradiction that the engine does not confirm: a feature no proof can look into."
            return Proof(guarantee=name, outcome="not proved", sentence=why, witnesses=witnesses, seconds=spent)
        outcome: ProofOutcome = "proved" if holds else "refuted"
        return Proof(
            guarantee=name,
            outcome=outcome,
            sentence=proved if holds else refuted,
            witnesses=witnesses if outcome == "refuted" or not refutes else (),
            seconds=spent,
        )


def condition_holds(text: str, witness: Witness) -> bool:
    """Return whether a guarantee's condition holds for a witness, by the evaluator."""
    verdict = witness.verdict
    decision = {"allowed": "allow", "asked": "ask", "denied": "deny"}
    words = {word: verdict.decision == meant for word, meant in decision.items()} | {"score": verdict.score / PPM}
    return (
        compile_expression(text).execute(
            {"action": action_variables(witness.action), **witness.facts.variables(), **words}
        )
        is True
    )


def _raised_term(kind: object, low: Term, high: Term) -> Term:
    if isinstance(kind, Flag):
        return z3.And(z3.Not(low), high)
    return low < high


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
