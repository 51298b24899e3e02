"""JSON parser with positions: the standard parser gives the value, and a second scan records the place of each part."""

import json
import re
from bisect import bisect_right
from collections.abc import Iterator
from typing import Any

from capsules.errors import DocumentPath
from somagent.capsule_files.problems import (
    MAX_DEPTH,
    MAX_INTEGER,
    MAX_VALUES,
    ParseResult,
    Place,
    Places,
    ProblemCollector,
)

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\]:,]|[^\s{}\[\]:,"]+')


def parse_json(text: str) -> ParseResult:
    """Parse one JSON document. Problems are in the result; nothing is raised."""
    lines = _Lines(text)
    tokens = list(_TOKEN.finditer(text))
    refused = _check_limits(tokens, lines)
    if refused is not None:
        return refused
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        return ParseResult.refusal(
            f"This is not JSON: {error.msg}.", place=Place(error.lineno, error.colno), expected="valid JSON"
        )
    except ValueError as error:
        return ParseResult.refusal(f"This is not JSON: {error}.", expected="valid JSON")
    recorder = _PlaceRecorder(lines)
    recorder.record(iter(tokens), ())
    recorder.check(value, ())
    return ParseResult(value=value, places=recorder.places, problems=tuple(recorder.problems.found))


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a number of JSON")


def _check_limits(tokens: list[re.Match[str]], lines: "_Lines") -> ParseResult | None:
    """Return the refusal of a text that is too deep or too large for the recursive parser, else None."""
    depth = 0
    for token in tokens:
        depth += (token[0] in "{[") - (token[0] in "}]")
        if depth > MAX_DEPTH:
            return ParseResult.refusal(
                f"The file nests deeper than {MAX_DEPTH} levels.", place=lines.place(token.start())
            )
    if len(tokens) > 4 * MAX_VALUES:
        return ParseResult.refusal(f"The file holds more than {MAX_VALUES:,} values.", expected="a smaller file")
    return None


class _Lines:
    """Converts offsets in a text to lines and columns."""

    def __init__(self, text: str) -> None:
        self._starts = [0, *(found.end() for found in re.finditer("\n", text))]

    def place(self, offset: int) -> Place:
        line = bisect_right(self._starts, offset)
        return Place(line, offset - self._starts[line - 1] + 1)


class _PlaceRecorder:
    """Records the place of every key and value of valid JSON."""

    def __init__(self, lines: _Lines) -> None:
        self.places = Places()
        self.problems = ProblemCollector(self.places)
        self._lines = lines

    def record(self, tokens: Iterator[re.Match[str]], path: DocumentPath, first: re.Match[str] | None = None) -> None:
        token = first or next(tokens)
        self.places.values.setdefault(path, self._lines.place(token.start()))
        if token[0] == "{":
            self._mapping(tokens, path)
        elif token[0] == "[":
            self._list(tokens, path)

    def _mapping(self, tokens: Iterator[re.Match[str]], path: DocumentPath) -> None:
        while (token := next(tokens))[0] != "}":
            if token[0] == ",":
                continue
            key = (*path, json.loads(token[0]))
            place = self._lines.place(token.start())
            if key in self.places.keys:
                message = f"The key {key[-1]!r} stands here a second time."
                expected = f"once; see line {self.places.keys[key].line}"
                self.places.keys[key] = place
                self.problems.add(key, message, expected=expected, key=True)
            self.places.keys[key] = place
            next(tokens)  # the colon
            self.record(tokens, key)

    def _list(self, tokens: Iterator[re.Match[str]], path: DocumentPath) -> None:
        index = 0
        while (token := next(tokens))[0] != "]":
            if token[0] == ",":
                continue
            self.record(tokens, (*path, index), token)
            index += 1

    def check(self, value: Any, path: DocumentPath) -> None:  # noqa: ANN401 - any JSON value
        """Report values that are valid JSON, but that canonical JSON or PostgreSQL cannot hold."""
        match value:
            case dict():
                for key, item in value.items():
                    self.check(item, (*path, key))
            case list():
                for index, item in enumerate(value):
                    self.check(item, (*path, index))
            case int() if abs(value) > MAX_INTEGER:
                message = "The number is beyond what JSON carries exactly."
                self.problems.add(path, message, expected="at most 2^53 - 1, or text")
            case str() if "\x00" in value or any("\ud800" <= c <= "\udfff" for c in value):
                message = "The text holds a NUL or half a surrogate pair."
                self.problems.add(path, message, expected="whole Unicode characters")
            case _:
                pass
