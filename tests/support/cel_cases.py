"""The official conformance cases of CEL as Python values, and what the evaluator makes of each."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import textproto

from capsules.errors import Invalid
from capsules.expressions import evaluate

DIRECTORY = Path(__file__).parents[3] / "shared" / "data" / "cel-spec"
ABSENT = f"the cases of google/cel-spec are not at {DIRECTORY}"
FILES = ("basic", "comparisons", "lists", "logic", "plumbing", "string")


class Failure:
    """In place of a value: the case must not evaluate."""

    def __repr__(self) -> str:
        return "an error"


FAILURE = Failure()


@dataclass(frozen=True)
class Case:
    id: str
    expression: str
    expected: Any
    bindings: dict[str, Any] = field(default_factory=dict)
    container: str = ""


@cache
def cases() -> tuple[Case, ...]:
    """Return every case; none where the folder is absent."""
    found = []
    for name in FILES:
        path = DIRECTORY / f"{name}.textproto"
        if path.exists():
            for section in textproto.read(path)["section"]:
                found += [_case(f"{name}/{_text(section['name'])}", test) for test in section["test"]]
    return tuple(found)


def _case(section: str, test: textproto.Block) -> Case:
    bindings = {_text(b["key"]): value_of(b["value"][0]["value"][0]) for b in test.get("bindings", [])}
    # A case that says nothing of its answer expects true.
    expected = FAILURE if "eval_error" in test else value_of(test["value"][0]) if "value" in test else True
    container = _text(test["container"]) if "container" in test else ""
    return Case(f"{section}/{_text(test['name'])}", _text(test["expr"]), expected, bindings, container)


def _text(values: list[Any]) -> str:
    return bytes(values[0]).decode()


def value_of(block: textproto.Block) -> Any:
    """Return a cel.expr.Value as Python's."""
    ((kind, (value, *_)),) = block.items()
    return CONVERTERS[kind](value)


CONVERTERS: dict[str, Callable[[Any], Any]] = {
    "int64_value": int,
    "uint64_value": int,
    "double_value": float,
    "bool_value": lambda value: value == "true",
    "null_value": lambda _: None,
    "string_value": lambda value: value.decode(),
    "bytes_value": bytes,
    "list_value": lambda value: [value_of(member) for member in value.get("values", [])],
    "map_value": lambda value: {value_of(e["key"][0]): value_of(e["value"][0]) for e in value.get("entries", [])},
}


def evaluate_case(case: Case) -> Any:
    """Return what the evaluator gives, or FAILURE."""
    try:
        return evaluate(case.expression, case.bindings)
    except Invalid:
        return FAILURE


def equal_values(one: Any, other: Any) -> bool:
    """Compare as CEL tells types apart: true is not 1, and 1 is not 1.0."""
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(equal_values, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(equal_values(one[key], other[key]) for key in one)
    return type(one) is type(other) and one == other
