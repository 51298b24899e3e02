"""The JSON Schemas inside a capsule: valid, closed in themselves, and, where a path leads through them, followed."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError

from somagent.capsulefile.findings import Findings
from somagent.capsulefile.problems import Path
from somagent.capsulefile.syntax import type_name

TYPES = "array, boolean, integer, null, number, object, string"


def check_schema(findings: Findings, path: Path, schema: Mapping[str, Any], *, of_object: bool = False) -> bool:
    """Check a schema and say whether values can be judged by it."""
    before = len(findings.problems)
    for error in Draft202012Validator(Draft202012Validator.META_SCHEMA).iter_errors(schema):
        where = (*path, *error.absolute_path)
        findings.add(where, f"This is not JSON Schema: {_reason(error)}.", expected=_expected(error))
    for where, reference in _references(schema, path):
        if not reference.startswith("#"):
            findings.add(where, f"{reference!r} is outside of this file.", expected="`#/…`, a place in the same schema")
    for where, pattern in _patterns(schema, path):
        try:
            re.compile(pattern)
        except re.error as error:
            findings.add(where, f"{pattern!r} is not a regular expression: {error}.", expected="a regular expression")
    if of_object and schema.get("type") != "object":
        findings.add((*path, "type"), "This schema is not one of a mapping.", expected="`type: object`")
    return len(findings.problems) == before


def check_value(findings: Findings, path: Path, value: object, schema: Mapping[str, Any], *, of: str) -> None:
    """Check a literal value against a valid schema."""
    for error in Draft202012Validator(schema).iter_errors(value):
        findings.add((*path, *error.absolute_path), f"This does not fit {of}: {error.message[:300]}.")


def types(schema: Mapping[str, Any] | None) -> frozenset[str]:
    """Return the types that a schema names; empty when it names none."""
    named = (schema or {}).get("type", ())
    return frozenset([named] if isinstance(named, str) else named)


def agree(given: frozenset[str], wanted: frozenset[str]) -> bool:
    """Say whether a value of one of the types given can be of one wanted; unknown types agree with all."""
    if not given or not wanted or given & wanted:
        return True
    return "integer" in given and "number" in wanted


def _references(node: object, path: Path) -> Iterator[tuple[Path, str]]:
    yield from (
        (where, text)
        for where, key, text in _texts(node, path)
        if key in {"$ref", "$dynamicRef", "$schema"} and key != "$schema"
    )


def _patterns(node: object, path: Path) -> Iterator[tuple[Path, str]]:
    yield from ((where, text) for where, key, text in _texts(node, path) if key == "pattern")


def _texts(node: object, path: Path) -> Iterator[tuple[Path, str, str]]:
    """Yield every text below a node, with its place and key."""
    match node:
        case Mapping():
            for key, item in node.items():
                if isinstance(item, str):
                    yield (*path, key), key, item
                else:
                    yield from _texts(item, (*path, key))
        case list() | tuple():
            for index, item in enumerate(node):
                yield from _texts(item, (*path, index))
        case _:
            pass


def _reason(error: SchemaError | Any) -> str:  # noqa: ANN401 - jsonschema's two error types share these
    value = error.instance
    return f"{value!r} stands here" if isinstance(value, str | int | float) else f"{type_name(value)} stands here"


def _expected(error: Any) -> str:  # noqa: ANN401 - see above
    if error.absolute_path and error.absolute_path[-1] == "type":
        return f"one of {TYPES}"
    wanted = error.schema.get("type") if isinstance(error.schema, Mapping) else None
    return f"{wanted}" if wanted else str(error.message)[:200]
