"""What the parsers of JSON and YAML share: their result, their limits, and the names of JSON types."""

from dataclasses import dataclass
from typing import Any

from somagent.capsule_files.problems import FileProblem, Place, Places

MAX_BYTES = 256 * 1024
MAX_DEPTH = 40
MAX_VALUES = 20_000
MAX_INTEGER = 2**53 - 1  # beyond it canonical JSON, and so a digest, is not exact


@dataclass(frozen=True)
class Parsed:
    """The value of a text, the places of its parts, and the problems."""

    value: Any
    places: Places
    problems: tuple[FileProblem, ...] = ()


def refused(message: str, *, place: Place | None = None, expected: str = "") -> Parsed:
    """Return the result for a text that cannot be parsed."""
    where = {"line": place.line, "column": place.column} if place else {}
    return Parsed(
        value=None,
        places=Places(),
        problems=(FileProblem.model_validate({"path": "", "message": message, "expected": expected, **where}),),
    )


_TYPE_NAMES = {
    type(None): "nothing",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    list: "a list",
    tuple: "a list",
}


def type_name(value: object) -> str:
    """Return a JSON value's type in words, such as `a whole number`."""
    return _TYPE_NAMES.get(type(value), "a mapping")
