"""Names in an expression: the variables, the fields that follow from them, and the functions that it calls.

The evaluator accepts a call of any function and a read of any field, and fails only in a run. These checks find both
when the capsule is published, in the parse tree of the expression. The policy's language uses the same parser.
"""

from collections.abc import Iterator
from functools import lru_cache

from celpy.celparser import CELParseError, CELParser
from celpy.evaluation import celstr
from lark import Token, Tree

from capsules.errors import DocumentPath, Invalid
from capsules.expressions import compile_expression, expressions_in
from somagent.capsule_files.expression_scope import ExpressionScope, FieldPath
from somagent.capsule_files.problems import ProblemCollector, suggestion

# Nodes for levels of the grammar. With one operand and no operator they have no meaning.
_LEVELS = frozenset({
    "expr", "conditionalor", "conditionaland", "relation", "addition", "multiplication", "unary", "member", "primary",
    "paren_expr",
})  # fmt: skip
_MACROS = frozenset({"all", "exists", "exists_one", "filter", "map"})
# The evaluator's functions.
FUNCTIONS = _MACROS | {
    "size", "has", "contains", "startsWith", "endsWith", "matches", "int", "uint", "double", "string", "bytes", "type",
    "dyn", "timestamp", "duration", "getDate", "getDayOfMonth", "getDayOfWeek", "getDayOfYear", "getFullYear",
    "getHours", "getMilliseconds", "getMinutes", "getMonth", "getSeconds",
}  # fmt: skip


def check_expression(problems: ProblemCollector, path: DocumentPath, text: str, scope: ExpressionScope) -> None:
    """Check that an expression parses and that every name in it exists."""
    try:
        compile_expression(text)
        tree = _parsed(text)
    except Invalid as error:
        # The parser's message without its drawing of the place.
        words = error.message.partition(" expecting {")[0].partition("\n")[0]
        problems.add(path, words.replace("ERROR: <input>:", "at "), expected="a CEL expression")
        return
    paths = tuple(dict.fromkeys(_paths(tree)))
    for name in dict.fromkeys(found[0] for found in paths):
        if name not in scope.variables:
            message = f"The expression {text!r} names `{name}`, which is not known here."
            known = scope.variables
            problems.add(path, message + suggestion(name, known), expected=f"one of {', '.join(known)}")
    for name in dict.fromkeys(_functions(tree)):
        if name not in FUNCTIONS:
            message = f"The expression {text!r} calls `{name}`, which does not exist."
            problems.add(path, message + suggestion(name, FUNCTIONS))
    for followed in paths:
        _check_fields(problems, path, text, followed, scope)


def check_template(problems: ProblemCollector, path: DocumentPath, value: object, scope: ExpressionScope) -> None:
    """Check every `${{ expression }}` inside a JSON value."""
    match value:
        case dict():
            for key, item in value.items():
                check_template(problems, (*path, key), item, scope)
        case list() | tuple():
            for index, item in enumerate(value):
                check_template(problems, (*path, index), item, scope)
        case str():
            found = expressions_in(value)
            if value.count("${{") != len(found):
                problems.add(path, "A `${{` is not closed.", expected="`${{ expression }}`")
            for expression in found:
                check_expression(problems, path, expression, scope)
        case _:
            pass


def plain_path(text: str) -> FieldPath | None:
    """Return the path of an expression that only follows fields, such as `tasks.a.output.title`, else None."""
    try:
        path, _, keys = _chain(_parsed(text))
    except Invalid:
        return None
    return None if keys else path


def _check_fields(
    problems: ProblemCollector, path: DocumentPath, text: str, followed: FieldPath, scope: ExpressionScope
) -> None:
    unknown = scope.unknown_field(followed)
    if unknown is None:
        return
    index, known = unknown
    name, around = followed[index], ".".join(followed[:index])
    what = {"steps": "a step", "tasks": "a task"}.get(around)
    reason = (
        f"names {name!r}, which is not {what} before this" if what else f"names `{around}.{name}`, which does not exist"
    )
    expected = f"one of {', '.join(known)}" if known else "nothing: there is none before this"
    problems.add(path, f"The expression {text!r} {reason}.{suggestion(name, known)}", expected=expected)


@lru_cache(maxsize=1)
def _parser() -> CELParser:
    return CELParser()


def _parsed(text: str) -> Tree[Token]:
    """Return the parse tree. Raises Invalid."""
    try:
        return _parser().parse(text)
    except CELParseError as error:
        raise Invalid(f"The expression {text!r} does not parse: {error}") from error


def _paths(tree: Tree[Token]) -> Iterator[FieldPath]:
    """Yield the longest path from each use of a variable that no macro binds."""
    waiting: list[tuple[Tree[Token], frozenset[str]]] = [(tree, frozenset())]
    while waiting:
        node, bound = waiting.pop()
        path, root, keys = _chain(node)
        waiting.extend((key, bound) for key in keys)
        if path is not None:
            if path[0] not in bound:
                yield path
            continue
        inside = bound | _bound_by(root)
        waiting.extend(
            (child, inside if child.data == "exprlist" else bound)
            for child in reversed(root.children)
            if isinstance(child, Tree)
        )


def _chain(tree: Tree[Token]) -> tuple[FieldPath | None, Tree[Token], list[Tree[Token]]]:
    """Go down a chain such as `x.a["b"][i].c` once, however long it is.

    Return the path up to the first index that is no text (None where no variable begins the chain), the node at the
    bottom, and the indexes that are expressions of their own.
    """
    fields: list[str] = []
    keys: list[Tree[Token]] = []
    while True:
        tree = _plain(tree)
        match tree.data, tree.children:
            case "member_dot", [Tree() as around, name]:
                fields.append(str(name))
            case "member_index", [Tree() as around, Tree() as key]:
                field = _text(key)
                if field is None:
                    fields.clear()
                    keys.append(key)
                else:
                    fields.append(field)
            case ("ident" | "dot_ident") as kind, [name]:
                return (f".{name}" if kind == "dot_ident" else str(name), *reversed(fields)), tree, keys
            case _:
                return None, tree, keys
        tree = around


def _functions(tree: Tree[Token]) -> Iterator[str]:
    for node in tree.iter_subtrees():
        match node.data, node.children:
            case (("ident_arg" | "dot_ident_arg"), [name, *_]):
                yield str(name)
            case "member_dot_arg", [_, name, *_]:
                yield str(name)
            case _:
                pass


def _bound_by(node: Tree[Token]) -> frozenset[str]:
    """Return the variable that a macro binds, such as `x` in `items.all(x, x > 1)`."""
    match node.data, node.children:
        case "member_dot_arg", [_, name, Tree(children=[Tree() as first, _, *_])] if str(name) in _MACROS:
            return frozenset((_chain(first)[0] or ())[:1])
        case _:
            return frozenset()


def _text(tree: Tree[Token]) -> str | None:
    """Return the value of a text literal, else None."""
    match _plain(tree):
        case Tree(data="literal", children=[Token(type="STRING_LIT" | "MLSTRING_LIT") as token]):
            return str(celstr(token))
        case _:
            return None


def _plain(tree: Tree[Token]) -> Tree[Token]:
    """Return the node below levels of the grammar that have one operand and no operator."""
    while tree.data in _LEVELS and len(tree.children) == 1 and isinstance(tree.children[0], Tree):
        tree = tree.children[0]
    return tree
