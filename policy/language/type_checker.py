"""Type checker: CEL text to a typed tree, with attributes, types and ranges checked before run time.

An optional attribute may be read only after `has()` has tested it.
"""

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import cel
from lark import Token, Tree

from capsules.errors import Invalid
from policy.language.parser import expression_error, parse, position_of, unwrap
from policy.language.schema import Choice, Fixed, Flag, Schema, Text, Whole
from policy.language.type_rules import DECIMALS, arithmetic, choice, comparison, membership, prefix
from policy.language.typed_tree import (
    ArithmeticOperator,
    Both,
    ComparisonOperator,
    Either,
    Has,
    Literal,
    Node,
    Not,
    Opaque,
    Read,
    SourcePosition,
    ToFixed,
    is_number,
    opaque,
)

_RELATIONS: dict[str, ComparisonOperator] = {
    "relation_eq": "==", "relation_ne": "!=", "relation_lt": "<", "relation_le": "<=", "relation_gt": ">",
    "relation_ge": ">=",
}  # fmt: skip
_SIGNS: dict[str, ArithmeticOperator] = {
    "addition_add": "+", "addition_sub": "-", "multiplication_mul": "*", "multiplication_div": "/",
    "multiplication_mod": "%",
}  # fmt: skip
_MACROS = frozenset({"exists", "all", "exists_one"})
_TESTS = frozenset({"contains", "endsWith", "matches"})
MAX_PATTERN = 200

Known = frozenset[str]
Branch = Tree[Token]


def type_condition(text: str, schema: Schema) -> Node:
    """Return the typed condition. Raises Invalid, with line and column, unless it gives true or false."""
    node = _Reader(schema).read(parse(text), frozenset())
    if not isinstance(node.type, Flag):
        raise expression_error(node.place, f"this gives {node.type}; a condition gives true or false")
    return node


def type_number(text: str, schema: Schema) -> Node:
    """Return the typed number. Raises Invalid, with line and column, for anything else."""
    node = _Reader(schema).read(parse(text), frozenset())
    if not is_number(node.type):
        raise expression_error(node.place, f"this gives {node.type}; a feature gives a number from 0.0 to 1.0")
    return node


def part_of(text: str, node: Node, schema: Schema) -> str | None:
    """Return the source text of a node; None where that text alone does not parse to the same node."""
    part = text[node.place.start : node.place.end]
    try:
        read = _Reader(schema).read(parse(part), frozenset())
    except Invalid:
        return None
    return part if read == node else None


def require_provable(node: Node) -> Node:
    """Return the node. Raises Invalid, with the reason, where proofs cannot encode it."""
    part = opaque(node)
    if part is not None:
        raise expression_error(part.place, f"no proof can look into this: {part.reason}")
    return node


class _Reader:
    def __init__(self, schema: Schema) -> None:
        self._schema = schema

    def read(self, tree: Branch, known: Known) -> Node:
        tree = unwrap(tree)
        reader: Callable[[Branch, Known], Node] | None = getattr(self, f"_{tree.data}", None)
        if reader is None:
            raise expression_error(position_of(tree), f"{_words(tree)} is not part of this language")
        return reader(tree, known)

    def _expr(self, tree: Branch, known: Known) -> Node:
        test, then, otherwise = _branches(tree)
        asked = self.read(test, known)
        yes = self.read(then, known | _present_if(asked, True))
        no = self.read(otherwise, known | _present_if(asked, False))
        return choice(position_of(tree), asked, yes, no)

    def _conditionalor(self, tree: Branch, known: Known) -> Node:
        left, right = self._pair(tree, known, False)
        return Either(position_of(tree), Flag(), left, right)

    def _conditionaland(self, tree: Branch, known: Known) -> Node:
        left, right = self._pair(tree, known, True)
        return Both(position_of(tree), Flag(), left, right)

    def _relation(self, tree: Branch, known: Known) -> Node:
        operator, right = _branches(tree)
        left = self.read(_branches(operator)[0], known)
        if operator.data == "relation_in":
            return self._in(tree, left, unwrap(right), known)
        return comparison(position_of(tree), _RELATIONS[operator.data], left, self.read(right, known))

    def _in(self, tree: Branch, left: Node, right: Branch, known: Known) -> Node:
        if right.data != "list_lit":
            raise expression_error(position_of(right), "after `in` stands a list such as ['a', 'b']")
        return membership(position_of(tree), left, tuple(self.read(item, known) for item in _items(right)))

    def _addition(self, tree: Branch, known: Known) -> Node:
        operator, right = _branches(tree)
        left = self.read(_branches(operator)[0], known)
        return arithmetic(position_of(tree), _SIGNS[operator.data], left, self.read(right, known))

    _multiplication = _addition

    def _unary(self, tree: Branch, known: Known) -> Node:
        operator, below = _branches(tree)
        operand, place = self.read(below, known), position_of(tree)
        if operator.data == "unary_not":
            return Not(place, Flag(), _flag(operand))
        if not is_number(operand.type):
            raise expression_error(place, f"`-` before {operand.type}")
        zero = Fraction(0) if isinstance(operand.type, Fixed) else 0
        kind = Fixed() if isinstance(operand.type, Fixed) else Whole(0, 0)
        return arithmetic(place, "-", Literal(place, kind, zero), operand)

    def _literal(self, tree: Branch, known: Known) -> Node:
        del known
        place, token = position_of(tree), str(tree.children[0])
        value: Any = cel.evaluate(token)
        match value:
            case bool():
                return Literal(place, Flag(), value)
            case int() if token[-1] not in "uU":
                return Literal(place, Whole(value, value), value)
            case float():
                return Literal(place, Fixed(), _decimal(place, token))
            case str():
                return Literal(place, Text(), value)
            case _:
                raise expression_error(place, f"{token} is of a kind that this language does not have")

    def _ident(self, tree: Branch, known: Known) -> Node:
        return self._attribute(tree, str(tree.children[0]), known)

    def _member_dot(self, tree: Branch, known: Known) -> Node:
        return self._attribute(tree, self._path(tree), known)

    def _ident_arg(self, tree: Branch, known: Known) -> Node:
        name, arguments = str(tree.children[0]), _items(tree)
        place = position_of(tree)
        if name == "has" and len(arguments) == 1:
            inner = unwrap(arguments[0])
            return Has(place, Flag(), self._find(inner, self._path(inner)).attribute)
        read = [self.read(argument, known) for argument in arguments]
        match name, read:
            case "double", [only] if isinstance(only.type, Whole):
                return ToFixed(place, Fixed(), only)
            case "size", [only] if isinstance(only.type, Text | Choice):
                return Opaque(place, Whole(), "the length of a text is taken", (only,))
            case _:
                raise expression_error(
                    place, f"there is no function {name!r} of such arguments; there are has, double, size"
                )

    def _member_dot_arg(self, tree: Branch, known: Known) -> Node:
        operand, name, place = _branches(tree)[0], str(tree.children[1]), position_of(tree)
        arguments = _items(tree)
        if name in _MACROS:
            return Opaque(place, Flag(), f"the macro {name!r} ranges over a list", self._attributes_in(tree))
        left = self.read(operand, known)
        read = [self.read(argument, known) for argument in arguments]
        match name, read:
            case "startsWith", [only]:
                return prefix(place, left, only)
            case "size", [] if isinstance(left.type, Text | Choice):
                return Opaque(place, Whole(), "the length of a text is taken", (left,))
            case _, [only] if name in _TESTS and isinstance(left.type, Text | Choice) and isinstance(only, Literal):
                if len(str(only.value)) > MAX_PATTERN:
                    raise expression_error(only.place, f"a pattern has at most {MAX_PATTERN} characters")
                return Opaque(place, Flag(), f"{name} looks inside a text", (left,))
            case _:
                known_ones = "startsWith, endsWith, contains, matches, size"
                raise expression_error(place, f"there is no method {name!r} here; there are {known_ones}")

    def _pair(self, tree: Branch, known: Known, then: bool) -> tuple[Node, Node]:  # noqa: FBT001 - what the left one gives
        first, second = _branches(tree)
        left = _flag(self.read(first, known))
        return left, _flag(self.read(second, known | _present_if(left, then)))

    def _attribute(self, tree: Branch, path: str, known: Known) -> Node:
        found = self._find(tree, path)
        if found.attribute.optional and path not in known:
            raise expression_error(position_of(tree), f"{path} may be absent; write `has({path}) && ...` before it")
        return Read(found.place, found.type, found.attribute)

    def _find(self, tree: Branch, path: str) -> Read:
        attribute = self._schema.attributes.get(path)
        if attribute is None:
            near = sorted(p for p in self._schema.attributes if p.partition(".")[0] == path.partition(".")[0])
            known = ", ".join(near or sorted(self._schema.roots))
            raise expression_error(position_of(tree), f"there is no attribute {path!r}; there are {known}")
        return Read(position_of(tree), attribute.type, attribute)

    def _path(self, tree: Branch) -> str:
        tree = unwrap(tree)
        if tree.data == "ident":
            return str(tree.children[0])
        if tree.data == "member_dot" and isinstance(tree.children[0], Tree):
            return f"{self._path(tree.children[0])}.{tree.children[1]}"
        raise expression_error(position_of(tree), "here stands an attribute, such as action.egress")

    def _attributes_in(self, tree: Branch) -> tuple[Node, ...]:
        """Return every attribute in a tree that is not typed: the value depends on them."""
        found: list[Node] = []
        for part in tree.iter_subtrees():
            if part.data == "member_dot":
                try:
                    path = self._path(part)
                except Invalid:  # a field of the macro's own variable
                    continue
                if path in self._schema.attributes:
                    found.append(self._find(part, path))
        return tuple(found)


def _branches(tree: Branch) -> list[Branch]:
    return [child for child in tree.children if isinstance(child, Tree)]


def _items(tree: Branch) -> list[Branch]:
    lists = [child for child in _branches(tree) if child.data == "exprlist"]
    return _branches(lists[0]) if lists else []


def _flag(node: Node) -> Node:
    if not isinstance(node.type, Flag):
        raise expression_error(node.place, f"this is {node.type}; here stands something true or false")
    return node


def _present_if(node: Node, holds: bool) -> Known:  # noqa: FBT001 - what the condition gives
    """Return the optional attributes that have a value when a condition holds, or when it does not."""
    match node:
        case Has() if holds:
            return frozenset({node.attribute.path})
        case Not():
            return _present_if(node.operand, not holds)
        case Both() | Either():
            left, right = _present_if(node.left, holds), _present_if(node.right, holds)
            return left | right if isinstance(node, Both) == holds else left & right
        case _:
            return frozenset()


def _decimal(place: SourcePosition, token: str) -> Fraction:
    value = Fraction(token)
    if (value * DECIMALS).denominator != 1:
        raise expression_error(place, f"{token} has more than six decimals")
    return value


def _words(tree: Branch) -> str:
    names = {"map_lit": "a map", "member_index": "an index", "member_object": "a message", "list_lit": "a bare list"}
    return names.get(str(tree.data), f"this ({tree.data})")
