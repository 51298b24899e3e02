"""CEL parser: text to a parse tree, with limits on length, nesting and size."""

from functools import lru_cache

from celpy.celparser import CELParseError, CELParser
from lark import Token, Tree

from capsules.errors import Invalid
from policy.language.typed_tree import SourcePosition

MAX_CHARACTERS = 4096
MAX_NESTING = 32
MAX_NODES = 4000
"""Of the parse tree, which has a dozen nodes for each operand."""

_OPENING, _CLOSING = frozenset("([{?"), frozenset(")]}")
_PLAIN = frozenset({"expr", "conditionalor", "conditionaland", "relation", "addition", "multiplication", "unary"})
_WRAPPERS = _PLAIN | {"member", "primary"}


def expression_error(place: SourcePosition, message: str) -> Invalid:
    """Return the error that names the place in the text."""
    return Invalid(f"{place}: {message}", line=place.line, column=place.column)


def parse(text: str) -> Tree[Token]:
    """Return the parse tree. Raises Invalid with line and column."""
    if len(text) > MAX_CHARACTERS:
        raise expression_error(
            SourcePosition(1, MAX_CHARACTERS), f"an expression has at most {MAX_CHARACTERS} characters, not {len(text)}"
        )
    _bounded_nesting(text)
    try:
        tree = _parser().parse(text)
    except CELParseError as error:
        place = SourcePosition(max(error.line or 1, 1), max(error.column or 1, 1))
        message = "the expression does not read here; a condition looks like `action.egress == 'none'`"
        raise expression_error(place, message) from error
    if sum(1 for _ in tree.iter_subtrees()) > MAX_NODES:
        raise expression_error(SourcePosition(1, 1), "the expression has too many parts; split it into several clauses")
    return tree


def unwrap(tree: Tree[Token]) -> Tree[Token]:
    """Return the node below levels of the grammar that have one operand and no operator."""
    while tree.data in _WRAPPERS or tree.data == "paren_expr":
        inner = [child for child in tree.children if child is not None]
        if len(inner) != 1 or not isinstance(inner[0], Tree):
            break
        tree = inner[0]
    return tree


def position_of(tree: Tree[Token]) -> SourcePosition:
    meta = tree.meta
    return SourcePosition(
        getattr(meta, "line", 1), getattr(meta, "column", 1), getattr(meta, "start_pos", 0), getattr(meta, "end_pos", 0)
    )


def _bounded_nesting(text: str) -> None:
    depth, quote = 0, ""
    for position, character in enumerate(text):
        if quote:
            quote = "" if character == quote and text[position - 1] != "\\" else quote
        elif character in "'\"":
            quote = character
        elif character in _OPENING:
            depth += 1
        elif character in _CLOSING:
            depth -= 1
        if depth > MAX_NESTING:
            line = text.count("\n", 0, position) + 1
            column = position - text.rfind("\n", 0, position)
            raise expression_error(
                SourcePosition(line, column), f"the expression is nested more than {MAX_NESTING} deep; split it"
            )


@lru_cache(maxsize=1)
def _parser() -> CELParser:
    return CELParser()
