"""The typed tree over columns: whole numbers in parts per million and codes of texts, many actions at a time.

The arithmetic is that of `logic`: numerators over constant denominators in 64-bit integers, so that a batch decides as
the proofs say. The evaluator's answers are the reference; a differential test compares all three.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import lcm
from typing import Any

import numpy as np

from capsules.errors import Invalid
from capsules.verdict import PPM
from policy.language.schema import Choice, Fixed, Text
from policy.language.tree import (
    Arithmetic,
    Both,
    Compare,
    Either,
    Has,
    If,
    Literal,
    Node,
    Not,
    Opaque,
    Operator,
    Read,
    StartsWith,
    ToFixed,
    Within,
)

Array = np.ndarray[Any, np.dtype[Any]]
_HOLDS: Mapping[Operator, Callable[[Array, Array], Array]] = {
    "==": np.equal, "!=": np.not_equal, "<": np.less, "<=": np.less_equal, ">": np.greater, ">=": np.greater_equal,
}  # fmt: skip


@dataclass(frozen=True)
class Texts:
    """A column of texts: codes into a table of few. Code -1: the attribute is absent."""

    codes: Array
    table: tuple[str, ...]


Column = Array | Texts
"""bool for a flag; int64 for numbers (parts per million where they have a point); Texts for texts."""


@dataclass(frozen=True)
class Ratio:
    """Whole numerators over one denominator."""

    top: Array
    bottom: int = 1


def holds(node: Node, columns: Mapping[str, Column]) -> Array:  # noqa: C901, PLR0911 - a line for each kind of node
    """Return where the condition holds, shape (actions,). Raises Invalid for what only the evaluator understands."""
    match node:
        case Literal():
            return np.asarray(node.value)
        case Read():
            return _numbers(columns[node.attribute.path])
        case Has():
            column = columns[node.attribute.path]
            return column.codes >= 0 if isinstance(column, Texts) else np.asarray(True)
        case Not():
            return ~holds(node.operand, columns)
        case Both():
            return holds(node.left, columns) & holds(node.right, columns)
        case Either():
            return holds(node.left, columns) | holds(node.right, columns)
        case If():
            return np.where(holds(node.condition, columns), holds(node.then, columns), holds(node.otherwise, columns))
        case Compare():
            return _compare(node, columns)
        case Within():
            wanted = {str(value.value) for value in node.values}
            if isinstance(node.operand.type, Choice | Text):
                return _texts(node.operand, columns, lambda text: text in wanted)
            each = [_equal(node.operand, value, columns) for value in node.values]
            return np.logical_or.reduce(each) if each else np.asarray(False)
        case StartsWith():
            return _texts(node.operand, columns, lambda text: text.startswith(node.prefix))
        case _:
            raise _unknown(node)


def in_ppm(node: Node, columns: Mapping[str, Column]) -> Array:
    """Return a number in whole parts per million, halves up, as the engine rounds."""
    value = _ratio(node, columns)
    if PPM % value.bottom == 0:
        return value.top * (PPM // value.bottom)
    whole, rest = np.divmod(value.top * PPM, value.bottom)
    up = rest / value.bottom + 1e-7 >= 0.5
    return np.asarray(whole + up)


def _ratio(node: Node, columns: Mapping[str, Column]) -> Ratio:
    match node:
        case Literal():
            value = Fraction(node.value)
            return Ratio(np.asarray(value.numerator, dtype=np.int64), value.denominator)
        case Read():
            return Ratio(_numbers(columns[node.attribute.path]), PPM if isinstance(node.type, Fixed) else 1)
        case If():
            then, otherwise = _ratio(node.then, columns), _ratio(node.otherwise, columns)
            bottom = lcm(then.bottom, otherwise.bottom)
            where = holds(node.condition, columns)
            return Ratio(np.where(where, _over(then, bottom), _over(otherwise, bottom)), bottom)
        case ToFixed():
            return _ratio(node.operand, columns)
        case Arithmetic():
            return _arithmetic(node, columns)
        case _:
            raise _unknown(node)


def _arithmetic(node: Arithmetic, columns: Mapping[str, Column]) -> Ratio:
    left, right = _ratio(node.left, columns), _ratio(node.right, columns)
    match node.sign:
        case "+" | "-":
            bottom = lcm(left.bottom, right.bottom)
            one, other = _over(left, bottom), _over(right, bottom)
            return Ratio(one + other if node.sign == "+" else one - other, bottom)
        case "*":
            return Ratio(left.top * right.top, left.bottom * right.bottom)
        case "/" if not isinstance(node.type, Fixed):
            return Ratio(left.top // right.top)
        case "%":
            return Ratio(left.top % right.top)
        case _:
            assert isinstance(node.right, Literal)
            by = Fraction(node.right.value)
            return Ratio(left.top * (by.denominator if by > 0 else -by.denominator), left.bottom * abs(by.numerator))


def _compare(node: Compare, columns: Mapping[str, Column]) -> Array:
    left, right = node.left, node.right
    if isinstance(left.type, Choice | Text):
        if isinstance(left, Literal):
            left, right = right, left
        constant = str(right.value) if isinstance(right, Literal) else None
        same = _texts(left, columns, lambda text: text == constant)
        return same if node.operator == "==" else ~same
    if not isinstance(left.type, Fixed) and not hasattr(left.type, "low"):
        return _HOLDS[node.operator](holds(left, columns), holds(right, columns))
    one, other = _ratio(left, columns), _ratio(right, columns)
    bottom = lcm(one.bottom, other.bottom)
    return _HOLDS[node.operator](_over(one, bottom), _over(other, bottom))


def _equal(operand: Node, value: Literal, columns: Mapping[str, Column]) -> Array:
    return _compare(Compare(operand.place, operand.type, "==", operand, value), columns)


def _texts(node: Node, columns: Mapping[str, Column], test: Callable[[str], bool]) -> Array:
    match node:
        case Literal():
            return np.asarray(test(str(node.value)))
        case Read():
            column = columns[node.attribute.path]
            assert isinstance(column, Texts)
            # One test for each different text; the last entry is for what is absent.
            passing = np.array([*map(test, column.table), False])
            return passing[column.codes]
        case If():
            where = holds(node.condition, columns)
            return np.where(where, _texts(node.then, columns, test), _texts(node.otherwise, columns, test))
        case _:
            raise _unknown(node)


def _over(value: Ratio, bottom: int) -> Array:
    factor = bottom // value.bottom
    return value.top if factor == 1 else value.top * factor


def _numbers(column: Column) -> Array:
    if isinstance(column, Texts):
        raise TypeError("a column of texts stands where numbers are wanted")
    return column


def _unknown(node: Node) -> Invalid:
    why = node.reason if isinstance(node, Opaque) else type(node).__name__
    return Invalid(f"{node.place}: a batch cannot be decided by this: {why}; judge its actions one by one")
