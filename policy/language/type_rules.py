"""Type rules: the operands of each operator, and the expressions that no proof can look into."""

from fractions import Fraction

from policy.language.parser import expression_error
from policy.language.schema import Choice, Fixed, Flag, Text, Type, Whole
from policy.language.typed_tree import (
    Arithmetic,
    ArithmeticOperator,
    Compare,
    ComparisonOperator,
    If,
    Literal,
    Node,
    Opaque,
    Read,
    SourcePosition,
    StartsWith,
    ToFixed,
    Within,
    is_number,
)

MIN_INTEGER, MAX_INTEGER = -(2**63), 2**63 - 1
DECIMALS = 10**6
_TEXTS = (Choice, Text)


def same_kind(left: Type, right: Type) -> bool:
    """Return whether two values can be compared: CEL's bool, int, double or string."""
    return (isinstance(left, _TEXTS) and isinstance(right, _TEXTS)) or type(left) is type(right)


def comparison(place: SourcePosition, operator: ComparisonOperator, left: Node, right: Node) -> Node:
    """Return the typed comparison. Raises Invalid for operands that cannot be compared."""
    if not same_kind(left.type, right.type):
        hint = " (write 1.0 for a number with a point)" if is_number(left.type) and is_number(right.type) else ""
        raise expression_error(place, f"{operator!r} compares {left.type} with {right.type}{hint}")
    ordered = operator not in {"==", "!="}
    if isinstance(left.type, Flag) and ordered:
        raise expression_error(place, f"{operator!r} does not order true and false")
    if isinstance(left.type, _TEXTS):
        return _texts(place, operator, left, right)
    if not (_exact(left) and _exact(right)):
        return Opaque(place, Flag(), "round-off decides a comparison of a computed number with a point", (left, right))
    return Compare(place, Flag(), operator, left, right)


def membership(place: SourcePosition, operand: Node, values: tuple[Node, ...]) -> Node:
    """Return `operand in [values]`."""
    for value in values:
        if not same_kind(operand.type, value.type):
            raise expression_error(
                value.place, f"the list holds {value.type}, and what is looked for is {operand.type}"
            )
        _known_choice(operand, value)
    if not all(isinstance(value, Literal) for value in values):
        return Opaque(place, Flag(), "the list holds more than constants", (operand, *values))
    if not _exact(operand):
        return Opaque(place, Flag(), "round-off decides whether a computed number is in a list", (operand,))
    return Within(place, Flag(), operand, tuple(value for value in values if isinstance(value, Literal)))


def prefix(place: SourcePosition, operand: Node, value: Node) -> Node:
    """Return `operand.startsWith(value)`."""
    if not isinstance(operand.type, _TEXTS) or not isinstance(value.type, _TEXTS):
        raise expression_error(place, f"startsWith compares texts, not {operand.type} with {value.type}")
    if isinstance(value, Literal) and isinstance(value.value, str):
        return StartsWith(place, Flag(), operand, value.value)
    return Opaque(place, Flag(), "the prefix is not a constant", (operand, value))


def choice(place: SourcePosition, condition: Node, then: Node, otherwise: Node) -> Node:
    """Return `condition ? then : otherwise`."""
    if not isinstance(condition.type, Flag):
        raise expression_error(
            condition.place, f"the condition before `?` is {condition.type}; it must be true or false"
        )
    if not same_kind(then.type, otherwise.type):
        raise expression_error(place, f"one branch gives {then.type}, the other {otherwise.type}")
    return If(place, _join_types(then.type, otherwise.type), condition, then, otherwise)


def arithmetic(place: SourcePosition, sign: ArithmeticOperator, left: Node, right: Node) -> Node:
    """Return a sum, difference, product, quotient or remainder of two numbers of one kind."""
    if isinstance(left.type, _TEXTS) and isinstance(right.type, _TEXTS) and sign == "+":
        return Opaque(place, Text(), "texts are joined", (left, right))
    if not is_number(left.type) or type(left.type) is not type(right.type):
        raise expression_error(place, f"{sign!r} takes two numbers of one kind, not {left.type} and {right.type}")
    if isinstance(left.type, Whole) and isinstance(right.type, Whole):
        return _whole(place, sign, left, right, left.type, right.type)
    if sign == "%":
        raise expression_error(place, "there is no remainder of numbers with a point")
    if sign == "/" and isinstance(right, Literal) and right.value == 0:
        raise expression_error(place, "this divides by zero")
    if sign == "/" and not isinstance(right, Literal):
        return Opaque(place, Fixed(), "a number is divided by one that is not a constant", (left, right))
    if sign == "*" and not (isinstance(left, Literal) or isinstance(right, Literal)):
        return Opaque(place, Fixed(), "two numbers that vary are multiplied", (left, right))
    return Arithmetic(place, Fixed(), sign, left, right)


def _whole(place: SourcePosition, sign: ArithmeticOperator, left: Node, right: Node, a: Whole, b: Whole) -> Node:  # noqa: PLR0913, PLR0917
    if sign in {"/", "%"}:
        if not isinstance(right, Literal) or not isinstance(right.value, int) or right.value <= 0 or a.low < 0:
            raise expression_error(place, f"{sign!r} takes a number that is never negative and a constant above zero")
        n = right.value
        kind = Whole(a.low // n, a.high // n) if sign == "/" else Whole(0, n - 1)
        return Arithmetic(place, kind, sign, left, right)
    if sign == "*" and not (isinstance(left, Literal) or isinstance(right, Literal)):
        raise expression_error(
            place, "two numbers that vary are multiplied, which can overflow; multiply by a constant"
        )
    ends = {
        "+": (a.low + b.low, a.high + b.high),
        "-": (a.low - b.high, a.high - b.low),
        "*": _products(a, b),
    }[sign]
    if ends[0] < MIN_INTEGER or ends[1] > MAX_INTEGER:
        raise expression_error(place, "this can overflow 64 bits")
    return Arithmetic(place, Whole(*ends), sign, left, right)


def _products(a: Whole, b: Whole) -> tuple[int, int]:
    corners = [x * y for x in (a.low, a.high) for y in (b.low, b.high)]
    return min(corners), max(corners)


def _texts(place: SourcePosition, operator: ComparisonOperator, left: Node, right: Node) -> Node:
    if operator not in {"==", "!="}:
        return Opaque(place, Flag(), "texts are put in order", (left, right))
    _known_choice(left, right)
    _known_choice(right, left)
    if isinstance(left, Literal) or isinstance(right, Literal):
        return Compare(place, Flag(), operator, left, right)
    return Opaque(place, Flag(), "two texts that vary are compared", (left, right))


def _known_choice(operand: Node, value: Node) -> None:
    """Refuse a constant that the attribute never has: mostly a misspelling."""
    if (
        isinstance(operand, Read)
        and isinstance(operand.type, Choice)
        and isinstance(value, Literal)
        and value.value not in operand.type.values
    ):
        raise expression_error(value.place, f"{operand.attribute.path} is {operand.type}, never {value.value!r}")


def _exact(node: Node) -> bool:
    """Return whether the evaluator's floating point orders these values as fractions are ordered.

    Attributes and constants have six decimals and their nearest doubles keep their order; a power of two scales
    without rounding. What is computed otherwise can be off by a round-off.
    """
    if not isinstance(node.type, Fixed):
        return True
    match node:
        case If():
            return _exact(node.then) and _exact(node.otherwise)
        case Arithmetic(sign="*" | "/"):
            factors = [n for n in (node.left, node.right) if isinstance(n, Literal)]
            return any(_power_of_two(f) for f in factors) and _exact(node.left) and _exact(node.right)
        case Arithmetic() | Opaque():
            return False
        case ToFixed():
            return isinstance(node.operand.type, Whole) and node.operand.type.high <= 2**53
        case _:
            return True


def _power_of_two(node: Literal) -> bool:
    value = node.value
    if not isinstance(value, Fraction) or value <= 0:
        return False
    return all(part & (part - 1) == 0 for part in (value.numerator, value.denominator))


def _join_types(one: Type, other: Type) -> Type:
    match one, other:
        case Whole(), Whole():
            return Whole(min(one.low, other.low), max(one.high, other.high))
        case Choice(), Choice() if one == other:
            return one
        case ((Choice() | Text()), _):
            return Text()
        case _:
            return one
