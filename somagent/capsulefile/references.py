"""What an expression names: variables, functions, and the fields behind `inputs.x`, `steps.x.output`, `tasks.x`."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import cel

from somagent.capsulefile.sight import Sight
from somagent.capsulefile.translate import suggestion

_STRINGS = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"")
_INDEXED = re.compile(r"\b(steps|tasks)\s*\[\s*['\"]([^'\"]+)['\"]\s*\]")
_BOUND = re.compile(r"\.\s*(?:all|exists|exists_one|filter|map)\s*\(\s*([A-Za-z_]\w*)\s*,")
_CHAIN = re.compile(r"(?<![\w.\])])([A-Za-z_]\w*)((?:\s*\.\s*[A-Za-z_]\w*(?!\s*\(|\w))+)")

# What the evaluator has: it compiles a call of anything and fails only when it gets there.
FUNCTIONS = frozenset(
    {
        "size",
        "has",
        "all",
        "exists",
        "exists_one",
        "filter",
        "map",
        "contains",
        "startsWith",
        "endsWith",
        "matches",
        "int",
        "uint",
        "double",
        "string",
        "bytes",
        "type",
        "dyn",
        "timestamp",
        "duration",
        "getDate",
        "getDayOfMonth",
        "getDayOfWeek",
        "getDayOfYear",
        "getFullYear",
        "getHours",
        "getMilliseconds",
        "getMinutes",
        "getMonth",
        "getSeconds",
    }
)


def check_expression(text: str, program: cel.Program, sight: Sight) -> Iterator[tuple[str, str]]:
    """Yield what an expression names that is not there, with what is."""
    bound = set(_BOUND.findall(text))
    for name in program.variables():
        if name not in sight.variables and name not in bound:
            message = f"The expression {text!r} names `{name}`, which is not known here."
            yield message + suggestion(name, sight.variables), f"one of {', '.join(sight.variables)}"
    for name in program.functions():
        if name[:1].isalpha() and name not in FUNCTIONS:
            yield f"The expression {text!r} calls `{name}`, which does not exist.{suggestion(name, FUNCTIONS)}", ""
    chains = [*_chains(text), *(tuple(found) for found in _INDEXED.findall(text))]
    yield from (missing for chain in chains if (missing := _missing(text, chain, sight)))


def plain_path(text: str) -> tuple[str, ...] | None:
    """Return the parts of an expression that only follows fields (`tasks.a.output.title`), else None."""
    found = _CHAIN.fullmatch(text.strip())
    return _parts(found) if found else None


def schema_behind(chain: tuple[str, ...], sight: Sight) -> Mapping[str, Any] | None:
    """Return the schema of what a plain path gives, where it is known."""
    node: Any = sight.schemas.get(chain[0])
    for name in chain[1:]:
        if not isinstance(node, Mapping):
            return None
        node = node.get("properties", {}).get(name)
    return node if isinstance(node, Mapping) else None


def _chains(text: str) -> list[tuple[str, ...]]:
    return [_parts(found) for found in _CHAIN.finditer(_STRINGS.sub("''", text))]


def _parts(found: re.Match[str]) -> tuple[str, ...]:
    return (found[1], *(part.strip() for part in found[2].split(".")[1:]))


def _missing(text: str, chain: tuple[str, ...], sight: Sight) -> tuple[str, str] | None:
    """Return what is wrong with the first part of a chain that its schema does not admit."""
    node: Any = sight.schemas.get(chain[0])
    for depth, name in enumerate(chain[1:], start=1):
        if not isinstance(node, Mapping):
            return None
        known = node.get("properties", {})
        if name not in known:
            closed = node.get("additionalProperties") is False and "patternProperties" not in node
            return _not_there(text, chain, depth, tuple(known)) if closed else None
        node = known[name]
    return None


def _not_there(text: str, chain: tuple[str, ...], depth: int, known: tuple[str, ...]) -> tuple[str, str]:
    name, around = chain[depth], ".".join(chain[:depth])
    what = {"steps": "a step", "tasks": "a task"}.get(around)
    reason = (
        f"names {name!r}, which is not {what} before this" if what else f"names `{around}.{name}`, which does not exist"
    )
    expected = f"one of {', '.join(known)}" if known else "nothing: there is none before this"
    return f"The expression {text!r} {reason}.{suggestion(name, known)}", expected
