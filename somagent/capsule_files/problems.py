"""Problems of a file: where each is, what is wrong, what was expected; and the result and limits of the parsers."""

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from pydantic import Field

from capsules.base_model import FrozenModel
from capsules.errors import DocumentPath, Invalid, path_text


class FileProblem(FrozenModel):
    """One thing that is wrong with a file."""

    path: str = Field(description="`spec.steps[0].use`; empty for the whole file.")
    line: int | None = Field(None, description="From 1; unset when the value did not come from a text.")
    column: int | None = None
    message: str
    expected: str = Field("", description="What would be right, in plain words.")


@dataclass(frozen=True)
class Place:
    """A position in a text, both counted from 1."""

    line: int
    column: int


@dataclass(frozen=True)
class Places:
    """Where each key and each value of a document begins."""

    keys: dict[DocumentPath, Place] = field(default_factory=dict)
    values: dict[DocumentPath, Place] = field(default_factory=dict)

    def of_value(self, path: DocumentPath) -> Place | None:
        """Return the place of the value at `path`, or of the nearest value that contains it."""
        while path not in self.values and path:
            path = path[:-1]
        return self.values.get(path)

    def of_key(self, path: DocumentPath) -> Place | None:
        """Return the place of the key at `path`, or of its value."""
        return self.keys.get(path) or self.of_value(path)


def file_problem(
    places: Places, path: DocumentPath, message: str, *, expected: str = "", key: bool = False
) -> FileProblem:
    """Return a problem at the place of the value, or of the key where the key itself is wrong."""
    place = places.of_key(path) if key else places.of_value(path)
    return FileProblem(
        path=path_text(path),
        line=place.line if place else None,
        column=place.column if place else None,
        message=message,
        expected=expected,
    )


class ProblemCollector:
    """Collects the problems of one document. `places` gives each problem its line and column."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self.found: list[FileProblem] = []

    def add(self, path: DocumentPath, message: str, *, expected: str = "", key: bool = False) -> None:
        """Add a problem. `key`: it is about the key, not the value."""
        self.found.append(file_problem(self._places, path, message, expected=expected, key=key))


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return ` Did you mean …?` where one of the known names is close to `name`, else an empty text."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f" Did you mean `{near[0]}`?" if near else ""


def refuse(filename: str, problems: Iterable[FileProblem]) -> None:
    """Raise Invalid with all problems, in the order of the file. Does nothing when there are none."""
    ordered = sorted(problems, key=lambda p: (p.line or 0, p.column or 0, p.path))
    if ordered:
        raise Invalid(_headline(filename, ordered), problems=[p.model_dump() for p in ordered])


def _headline(filename: str, problems: Sequence[FileProblem]) -> str:
    first = problems[0]
    where = f" at line {first.line}" if first.line else ""
    what = f"{first.path}: {first.message}" if first.path else first.message
    if len(problems) == 1:
        return f"{filename} has a problem{where}: {what}"
    return f"{filename} has {len(problems)} problems; the first{where}: {what}"


MAX_BYTES = 256 * 1024
MAX_DEPTH = 40
MAX_VALUES = 20_000
MAX_INTEGER = 2**53 - 1  # larger integers are not exact in canonical JSON, so neither is a digest


@dataclass(frozen=True)
class ParseResult:
    """The value of a text, the places of its parts, and the problems."""

    value: Any
    places: Places
    problems: tuple[FileProblem, ...] = ()

    @classmethod
    def refusal(cls, message: str, *, place: Place | None = None, expected: str = "") -> Self:
        """Return the result for a text that cannot be parsed."""
        line, column = (place.line, place.column) if place else (None, None)
        problem = FileProblem(path="", line=line, column=column, message=message, expected=expected)
        return cls(value=None, places=Places(), problems=(problem,))


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
