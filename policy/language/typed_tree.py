"""Typed tree of an expression. Every node has its type and its position in the text."""

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from fractions import Fraction
from typing import Literal as OneOf

from policy.language.schema import Attribute, Fixed, Type, Whole

ComparisonOperator = OneOf["==", "!=", "<", "<=", ">", ">="]
ArithmeticOperator = OneOf["+", "-", "*", "/", "%"]


@dataclass(frozen=True)
class SourcePosition:
    """Where in the expression's text, from 1."""

    line: int
    column: int
    start: int = field(default=0, compare=False)
    end: int = field(default=0, compare=False)
    """Characters from and up to, from 0."""

    def __str__(self) -> str:
        return f"line {self.line}, column {self.column}"


@dataclass(frozen=True)
class Node:
    place: SourcePosition = field(compare=False)
    type: Type


@dataclass(frozen=True)
class Literal(Node):
    """A constant; a number with a point as the exact fraction that its text says."""

    value: bool | int | str | Fraction


@dataclass(frozen=True)
class Read(Node):
    """The value of an attribute."""

    attribute: Attribute


@dataclass(frozen=True)
class Has(Node):
    """Whether an attribute has a value."""

    attribute: Attribute


@dataclass(frozen=True)
class Not(Node):
    operand: Node


@dataclass(frozen=True)
class Both(Node):
    """Logical and."""

    left: Node
    right: Node


@dataclass(frozen=True)
class Either(Node):
    """Logical or."""

    left: Node
    right: Node


@dataclass(frozen=True)
class If(Node):
    condition: Node
    then: Node
    otherwise: Node


@dataclass(frozen=True)
class Compare(Node):
    operator: ComparisonOperator
    left: Node
    right: Node


@dataclass(frozen=True)
class Within(Node):
    """`in` a list of constants."""

    operand: Node
    values: tuple[Literal, ...]


@dataclass(frozen=True)
class StartsWith(Node):
    operand: Node
    prefix: str


@dataclass(frozen=True)
class Arithmetic(Node):
    sign: ArithmeticOperator
    left: Node
    right: Node


@dataclass(frozen=True)
class ToFixed(Node):
    """`double(whole number)`."""

    operand: Node


@dataclass(frozen=True)
class Opaque(Node):
    """An expression that the evaluator accepts and proofs cannot encode: `reason` says why. `parts`: its operands."""

    reason: str
    parts: tuple[Node, ...]


def children(node: Node) -> Iterator[Node]:
    """Yield the nodes directly below, in the order of the text."""
    for item in fields(node):
        value = getattr(node, item.name)
        if isinstance(value, Node):
            yield value
        elif isinstance(value, tuple):
            yield from (part for part in value if isinstance(part, Node))


def walk(node: Node) -> Iterator[Node]:
    """Yield the node and everything below it."""
    yield node
    for child in children(node):
        yield from walk(child)


def reads(node: Node) -> frozenset[str]:
    """Return the path of every attribute that the node reads."""
    return frozenset(n.attribute.path for n in walk(node) if isinstance(n, Read | Has))


def opaque(node: Node) -> Opaque | None:
    """Return the first opaque part, or None."""
    return next((n for n in walk(node) if isinstance(n, Opaque)), None)


def is_number(kind: Type) -> bool:
    return isinstance(kind, Whole | Fixed)
