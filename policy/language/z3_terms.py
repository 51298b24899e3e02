"""Translation of the typed tree to Z3 terms over whole numbers.

It is exact, so that a proof is about what the evaluator computes. A number with a point is a whole numerator over a
constant denominator, and comparisons multiply out. A text is the index of its representative. The only approximation is
the last rounding of a feature to parts per million, which is bracketed where the fraction does not determine it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from math import lcm
from typing import Any

import z3

from capsules.actions.verdict import PPM
from policy.language.schema import Attribute, Choice, Fixed, Flag, Schema, Text, Whole
from policy.language.typed_tree import (
    Arithmetic,
    Both,
    Compare,
    ComparisonOperator,
    Either,
    Has,
    If,
    Literal,
    Node,
    Not,
    Opaque,
    Read,
    StartsWith,
    ToFixed,
    Within,
)
from policy.language.vocabulary import Vocabulary

Term = Any
"""A Z3 term; the library's own types are loose."""

_HOLDS: Mapping[ComparisonOperator, Callable[[Term, Term], Term]] = {
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}


@dataclass
class Space:
    """One action as Z3 variables: every attribute that some expression reads, within its range."""

    schema: Schema
    words: Vocabulary
    context: z3.Context
    mark: str = ""
    """Tells two actions of one proof apart."""
    variables: dict[str, Term] = field(default_factory=dict)
    present: dict[str, Term] = field(default_factory=dict)
    constraints: list[Term] = field(default_factory=list)
    fresh: int = 0

    def variable(self, attribute: Attribute) -> Term:
        """Return the attribute's variable: Bool for a flag, Int for the rest."""
        path = attribute.path
        if path not in self.variables:
            self.variables[path] = self._new(attribute)
        return self.variables[path]

    def has(self, attribute: Attribute) -> Term:
        if not attribute.optional:
            return z3.BoolVal(True, self.context)
        return self.present.setdefault(attribute.path, z3.Bool(f"{self.mark}has {attribute.path}", self.context))

    def hidden(self, low: int, high: int) -> Term:
        """Return a fresh whole number in a range: the proof must hold for every value."""
        self.fresh += 1
        variable = z3.Int(f"{self.mark}hidden {self.fresh}", self.context)
        self.constraints += [variable >= low, variable <= high]
        return variable

    def hidden_flag(self) -> Term:
        self.fresh += 1
        return z3.Bool(f"{self.mark}hidden {self.fresh}", self.context)

    def _new(self, attribute: Attribute) -> Term:
        name, kind = self.mark + attribute.path, attribute.type
        if isinstance(kind, Flag):
            return z3.Bool(name, self.context)
        variable = z3.Int(name, self.context)
        low, high = (
            (kind.low, kind.high) if isinstance(kind, Whole | Fixed) else (0, len(self.words[attribute.path].texts) - 1)
        )
        self.constraints += [variable >= low, variable <= high]
        return variable


@dataclass(frozen=True)
class Number:
    """A whole term over a constant."""

    top: Term
    bottom: int = 1


def condition_term(node: Node, space: Space) -> Term:  # noqa: C901, PLR0911 - one line for each kind of node
    """Return the condition as a Bool term."""
    match node:
        case Literal():
            return z3.BoolVal(bool(node.value), space.context)
        case Read():
            return space.variable(node.attribute)
        case Has():
            return space.has(node.attribute)
        case Not():
            return z3.Not(condition_term(node.operand, space))
        case Both():
            return z3.And(condition_term(node.left, space), condition_term(node.right, space))
        case Either():
            return z3.Or(condition_term(node.left, space), condition_term(node.right, space))
        case If():
            return z3.If(
                condition_term(node.condition, space),
                condition_term(node.then, space),
                condition_term(node.otherwise, space),
            )
        case Compare():
            return _compare(node, space)
        case Within():
            return _within(node, space)
        case StartsWith():
            return text_term(node.operand, space, lambda text: text.startswith(node.prefix))
        case Opaque():
            return space.hidden_flag()
        case _:
            raise TypeError(f"{type(node).__name__} is no condition")


def text_term(node: Node, space: Space, test: Callable[[str], bool]) -> Term:
    """Return the term that the text of a node passes a test."""
    match node:
        case Literal():
            return z3.BoolVal(test(str(node.value)), space.context)
        case Read():
            variable = space.variable(node.attribute)
            passing = [variable == i for i, text in enumerate(space.words[node.attribute.path].texts) if test(text)]
            return z3.Or(*passing, space.context) if passing else z3.BoolVal(False, space.context)
        case If():
            then, otherwise = text_term(node.then, space, test), text_term(node.otherwise, space, test)
            return z3.If(condition_term(node.condition, space), then, otherwise)
        case _:
            return space.hidden_flag()


def number_term(node: Node, space: Space) -> Number:
    """Return the value of a number as a fraction."""
    match node:
        case Literal():
            value = Fraction(node.value)
            return Number(z3.IntVal(value.numerator, space.context), value.denominator)
        case Read():
            return Number(space.variable(node.attribute), PPM if isinstance(node.type, Fixed) else 1)
        case If():
            then, otherwise = number_term(node.then, space), number_term(node.otherwise, space)
            bottom = lcm(then.bottom, otherwise.bottom)
            top = z3.If(condition_term(node.condition, space), _over(then, bottom), _over(otherwise, bottom))
            return Number(top, bottom)
        case ToFixed():
            return number_term(node.operand, space)
        case Arithmetic():
            return _arithmetic(node, space)
        case Opaque():
            return _anything(node, space)
        case _:
            raise TypeError(f"{type(node).__name__} is no number")


def ppm_term(node: Node, space: Space) -> Term:
    """Return a feature's value as the engine rounds it: whole parts per million."""
    value = number_term(node, space)
    if PPM % value.bottom == 0:
        return value.top * (PPM // value.bottom)
    # Halves go up. The evaluator's floating point is off by less than the slack, which the bracket allows both ways.
    rounded, unit = space.hidden(-(2**62), 2**62), 10**9
    exact, half, trace, slack = (
        unit * PPM * value.top, value.bottom * unit // 2, value.bottom * unit // 10**7, value.bottom,
    )  # fmt: skip
    scaled = unit * value.bottom * rounded
    space.constraints += [scaled <= exact + half + trace + slack, scaled > exact - half + trace - slack]
    return rounded


def _compare(node: Compare, space: Space) -> Term:
    left, right = node.left, node.right
    if isinstance(left.type, Choice | Text):
        if isinstance(left, Literal):
            left, right = right, left
        constant = str(right.value) if isinstance(right, Literal) else None
        same = text_term(left, space, lambda text: text == constant)
        return same if node.operator == "==" else z3.Not(same)
    if isinstance(left.type, Flag):
        return _HOLDS[node.operator](condition_term(left, space), condition_term(right, space))
    one, other = number_term(left, space), number_term(right, space)
    bottom = lcm(one.bottom, other.bottom)
    return _HOLDS[node.operator](_over(one, bottom), _over(other, bottom))


def _within(node: Within, space: Space) -> Term:
    if isinstance(node.operand.type, Choice | Text):
        wanted = {str(value.value) for value in node.values}
        return text_term(node.operand, space, lambda text: text in wanted)
    equal = [condition_term(Compare(node.place, Flag(), "==", node.operand, value), space) for value in node.values]
    return z3.Or(*equal, space.context) if equal else z3.BoolVal(False, space.context)


def _arithmetic(node: Arithmetic, space: Space) -> Number:
    left, right = number_term(node.left, space), number_term(node.right, space)
    match node.sign:
        case "+" | "-":
            bottom = lcm(left.bottom, right.bottom)
            one, other = _over(left, bottom), _over(right, bottom)
            return Number(one + other if node.sign == "+" else one - other, bottom)
        case "*":
            return Number(left.top * right.top, left.bottom * right.bottom)
        case "/" if isinstance(node.type, Whole):
            return Number(left.top / right.top)
        case "%":
            return Number(left.top % right.top)
        case _:
            assert isinstance(node.right, Literal)
            by = Fraction(node.right.value)
            return Number(left.top * by.denominator * (1 if by > 0 else -1), left.bottom * abs(by.numerator))


def _anything(node: Opaque, space: Space) -> Number:
    if isinstance(node.type, Fixed):
        return Number(space.hidden(-(2**62), 2**62), PPM)
    return Number(space.hidden(-(2**62), 2**62))


def _over(value: Number, bottom: int) -> Term:
    factor = bottom // value.bottom
    return value.top if factor == 1 else value.top * factor
