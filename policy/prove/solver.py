"""Solver: one encoded constitution in Z3, for many queries about single actions."""

import threading
from collections.abc import Iterable, Mapping
from typing import Any

import z3

from capsules.actions.action import Action, Facts
from capsules.actions.verdict import PPM
from policy.decide.engine import Policy
from policy.language.schema import Attribute, Fixed, Flag, NotMeasured
from policy.language.z3_terms import Space, Term
from policy.prove.encoder import EncodedDecision, encode, space_of

FixedAttributes = dict[str, Term]
"""Path to the term that fixes its attribute to a value."""


class UnknownValue(Exception):
    """The action has a value that the encoding does not have; carries the path."""


class Solver:
    """The encoded decision with a solver. One thread at a time: Z3 shares its context."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.space: Space = space_of([policy.clauses], context=z3.Context())
        self.encoded: EncodedDecision = encode(policy.clauses, self.space)
        self.lock = threading.Lock()
        self._solver = z3.Solver(ctx=self.space.context)
        self._solver.add(*self.space.constraints)

    def fix(self, action: Action, facts: Facts, *, but: Iterable[str] = ()) -> FixedAttributes:
        """Return the terms that fix every attribute but some to this action's. Raises UnknownValue."""
        left_out = frozenset(but)
        terms: FixedAttributes = {}
        for path, present in self.space.present.items():
            value = self._value(self.space.schema.attributes[path], action, facts)
            terms[f"has {path}"] = present == z3.BoolVal(value is not None, self.space.context)
        for path, variable in self.space.variables.items():
            attribute = self.space.schema.attributes[path]
            value = None if path in left_out else self._value(attribute, action, facts)
            if value is not None:
                terms[path] = variable == self.constant(attribute, value)
        return terms

    def constant(self, attribute: Attribute, value: Any) -> Any:  # noqa: ANN401 - a bool, number or text; Z3's term
        """Return a value as the encoding has it. Raises UnknownValue for a text that is none of a choice's."""
        if isinstance(attribute.type, Flag):
            return z3.BoolVal(value, self.space.context)
        if isinstance(attribute.type, Fixed):
            return round(value * PPM)
        words = self.space.words.get(attribute.path)
        index = value if words is None else words.index(value)
        if index is None:
            raise UnknownValue(attribute.path)
        return index

    def check(self, *claims: Term, milliseconds: int) -> bool | None:
        """Return whether the claims can hold together; None when time ran out. `model` has the values then."""
        self._solver.set("timeout", max(1, milliseconds))
        answer = self._solver.check(*claims)
        return None if answer == z3.unknown else bool(answer == z3.sat)

    def model(self) -> Any:  # noqa: ANN401 - Z3's model
        return self._solver.model()

    def unsat_core(self, condition: Term, fixing: Mapping[str, Term], *, milliseconds: int) -> list[str] | None:
        """Return the fewest fixed attributes that contradict a condition, by an unsat core; None when they do not."""
        names = {z3.Bool(f"fixed {path}", self.space.context): path for path in fixing}
        self._solver.push()
        try:
            self._solver.set("timeout", max(1, milliseconds))
            self._solver.add(condition)
            for name, path in names.items():
                self._solver.add(z3.Implies(name, fixing[path]))
            if self._solver.check(*names) != z3.unsat:
                return None
            core = list(self._solver.unsat_core())
            for name in list(core):
                fewer = [other for other in core if not other.eq(name)]
                if self._solver.check(*fewer) == z3.unsat:
                    core = fewer
            return sorted(names[name] for name in core)
        finally:
            self._solver.pop()

    def _value(self, attribute: Attribute, action: Action, facts: Facts) -> Any:  # noqa: ANN401 - any attribute
        try:
            return attribute.value(action, facts)
        except NotMeasured as missing:
            raise UnknownValue(str(missing)) from missing
