"""YAML parser with positions, restricted to what JSON can express.

Plain scalars follow YAML 1.2: `on`, `no`, `12:30` and `2026-01-01` are text. Anchors and aliases are refused, because
they can expand a small file to a huge value. Duplicate keys, tags, several documents and keys that are not text are
refused too.
"""

import re
from collections.abc import Iterator
from typing import Any, Protocol

import yaml

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

_NULL = re.compile(r"^(~|null|Null|NULL|)$")
_TRUE = re.compile(r"^(true|True|TRUE)$")
_FALSE = re.compile(r"^(false|False|FALSE)$")
_INTEGER = re.compile(r"^[-+]?[0-9]+$")
_NUMBER = re.compile(r"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$")


class _Mark(Protocol):
    """A position as PyYAML counts: from 0."""

    line: int
    column: int


def parse_yaml(text: str) -> ParseResult:
    """Parse one YAML document. Problems are in the result; nothing is raised."""
    try:
        refused = _check_events(yaml.parse(text, Loader=yaml.SafeLoader))
        if refused is not None:
            return refused
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = " ".join(filter(None, (error.context, error.problem)))
        return ParseResult.refusal(
            f"This is not YAML: {what}.", place=_place(mark) if mark else None, expected="valid YAML or JSON"
        )
    except yaml.YAMLError as error:
        return ParseResult.refusal(f"This is not YAML: {error}.", expected="valid YAML or JSON, in UTF-8")
    builder = _Builder()
    value = builder.build(node, ()) if node is not None else None
    return ParseResult(value=value, places=builder.places, problems=tuple(builder.problems.found))


def _check_events(events: Iterator[yaml.Event]) -> ParseResult | None:
    """Return the refusal of the first event that is not allowed, before a value is built, else None."""
    depth = values = documents = 0
    for event in events:
        place = _place(event.start_mark)
        documents += isinstance(event, yaml.DocumentStartEvent)
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        values += isinstance(event, yaml.NodeEvent)
        if documents > 1:
            return ParseResult.refusal("A second document begins here.", place=place, expected="one document a file")
        anchor = event.anchor if isinstance(event, yaml.NodeEvent) else None
        tag = event.tag if isinstance(event, yaml.ScalarEvent | yaml.CollectionStartEvent) else None
        if tag is not None:
            return ParseResult.refusal(f"Tags (here {tag!r}) are not taken.", place=place, expected="a plain value")
        if anchor is not None:
            message = f"Anchors and aliases (here {anchor!r}) are not taken."
            return ParseResult.refusal(message, place=place, expected="the value itself")
        if depth > MAX_DEPTH:
            return ParseResult.refusal(
                f"The file nests deeper than {MAX_DEPTH} levels.", place=place, expected="a flatter file"
            )
        if values > MAX_VALUES:
            return ParseResult.refusal(
                f"The file holds more than {MAX_VALUES:,} values.", place=place, expected="a smaller file"
            )
    return None


class _Builder:
    """Builds the value of a node and records the place of every part."""

    def __init__(self) -> None:
        self.places = Places()
        self.problems = ProblemCollector(self.places)

    def build(self, node: yaml.Node, path: DocumentPath) -> Any:  # noqa: ANN401 - any JSON value
        self.places.values[path] = _place(node.start_mark)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.build(item, (*path, index)) for index, item in enumerate(node.value)]
        return self._scalar(node, path)

    def _mapping(self, node: yaml.MappingNode, path: DocumentPath) -> dict[str, Any]:
        value: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                self.places.values[path] = _place(key_node.start_mark)
                self._refuse(path, "A key is not text.", "text as the key")
                continue
            key = key_node.value
            place = _place(key_node.start_mark)
            if key in value:
                first = self.places.keys[(*path, key)].line
                self.places.keys[(*path, key)] = place
                self._refuse((*path, key), f"The key {key!r} stands here a second time.", f"once; see line {first}")
                continue
            self.places.keys[(*path, key)] = place
            value[key] = self.build(value_node, (*path, key))
        return value

    def _scalar(self, node: yaml.Node, path: DocumentPath) -> Any:  # noqa: ANN401 - any JSON value
        text: str = node.value
        if getattr(node, "style", None) is not None:  # quoted or a block: text, whatever it looks like
            return text
        if _INTEGER.match(text):
            return self._integer(text, path)
        if _NUMBER.match(text):
            return float(text)
        if _TRUE.match(text) or _FALSE.match(text):
            return bool(_TRUE.match(text))
        return None if _NULL.match(text) else text

    def _integer(self, text: str, path: DocumentPath) -> int:
        if len(text) > 20 or abs(int(text)) > MAX_INTEGER:
            self._refuse(path, f"{text[:40]} is beyond what JSON carries exactly.", "at most 2^53 - 1, or quoted text")
            return 0
        return int(text)

    def _refuse(self, path: DocumentPath, message: str, expected: str) -> None:
        self.problems.add(path, message, expected=expected, key=True)


def _place(mark: _Mark | None) -> Place:
    return Place(mark.line + 1, mark.column + 1) if mark else Place(1, 1)
