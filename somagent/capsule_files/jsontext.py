"""JSON parser with positions: the standard parser gives the value, and a second pass records the place of each part."""

import json
import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from capsules.errors import DocumentPath
from somagent.capsule_files.problems import (
    MAX_DEPTH,
    MAX_INTEGER,
    MAX_VALUES,
    FileProblem,
    Parsed,
    Place,
    Places,
    file_problem,
    refused,
)

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\]:,]|[^\s{}\[\]:,"]+')


@dataclass(frozen=True)
class _Token:
    text: str
    at: int


def parse_json(text: str) -> Parsed:
    """Parse one JSON document. Problems are in the result; nothing is raised."""
    lines = _Lines(text)
    tokens = [_Token(found[0], found.start()) for found in _TOKEN.finditer(text)]
    refusal = _check_limits(tokens, lines)
    if refusal is not None:
        return refusal
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        return refused(f"This is not JSON: {error.msg}.", place=Place(error.lineno, error.colno), expected="valid JSON")
    except ValueError as error:
        return refused(f"This is not JSON: {error}.", expected="valid JSON")
    walk = _Walk(lines)
    walk.value(iter(tokens), ())
    walk.check(value, ())
    return Parsed(value=value, places=walk.places, problems=tuple(walk.problems))


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a number of JSON")


def _check_limits(tokens: list[_Token], lines: "_Lines") -> Parsed | None:
    """Return the refusal of a text that is too deep or too large for the recursive parser, else None."""
    depth = 0
    for token in tokens:
        depth += (token.text in "{[") - (token.text in "}]")
        if depth > MAX_DEPTH:
            return refused(f"The file nests deeper than {MAX_DEPTH} levels.", place=lines.place(token.at))
    if len(tokens) > 4 * MAX_VALUES:
        return refused(f"The file holds more than {MAX_VALUES:,} values.", expected="a smaller file")
    return None


class _Lines:
    """Converts offsets in a text to lines and columns."""

    def __init__(self, text: str) -> None:
        self._starts = [0, *(found.end() for found in re.finditer("\n", text))]

    def place(self, offset: int) -> Place:
        line = bisect_right(self._starts, offset)
        return Place(line, offset - self._starts[line - 1] + 1)


class _Walk:
    """Records the place of every key and value of valid JSON."""

    def __init__(self, lines: _Lines) -> None:
        self.places = Places()
        self.problems: list[FileProblem] = []
        self._lines = lines

    def value(self, tokens: Iterator[_Token], path: DocumentPath, first: _Token | None = None) -> None:
        token = first or next(tokens)
        self.places.values.setdefault(path, self._lines.place(token.at))
        if token.text == "{":
            self._mapping(tokens, path)
        elif token.text == "[":
            self._list(tokens, path)

    def _mapping(self, tokens: Iterator[_Token], path: DocumentPath) -> None:
        while (token := next(tokens)).text != "}":
            if token.text == ",":
                continue
            key = (*path, json.loads(token.text))
            place = self._lines.place(token.at)
            if key in self.places.keys:
                message = f"The key {key[-1]!r} stands here a second time."
                expected = f"once; see line {self.places.keys[key].line}"
                self.places.keys[key] = place
                self.problems.append(file_problem(self.places, key, message, expected=expected, key=True))
            self.places.keys[key] = place
            next(tokens)  # the colon
            self.value(tokens, key)

    def _list(self, tokens: Iterator[_Token], path: DocumentPath) -> None:
        index = 0
        while (token := next(tokens)).text != "]":
            if token.text == ",":
                continue
            self.value(tokens, (*path, index), token)
            index += 1

    def check(self, value: Any, path: DocumentPath) -> None:  # noqa: ANN401 - any JSON value
        """Report values that are valid JSON, but not possible in canonical JSON or in PostgreSQL."""
        match value:
            case dict():
                for key, item in value.items():
                    self.check(item, (*path, key))
            case list():
                for index, item in enumerate(value):
                    self.check(item, (*path, index))
            case int() if abs(value) > MAX_INTEGER:
                self._refuse(path, "The number is beyond what JSON carries exactly.", "at most 2^53 - 1, or text")
            case str() if "\x00" in value or any("\ud800" <= c <= "\udfff" for c in value):
                self._refuse(path, "The text holds a NUL or half a surrogate pair.", "whole Unicode characters")
            case _:
                pass

    def _refuse(self, path: DocumentPath, message: str, expected: str) -> None:
        self.problems.append(file_problem(self.places, path, message, expected=expected))
