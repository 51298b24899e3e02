"""JSON Schema (draft 2020-12): the one validator of the product, for schemas and values that nobody here wrote.

A validation has no effect outside of this process. Patterns match in linear time, a reference leads to a place in the
same schema only, and nothing is fetched or opened. `format` is checked.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Any

import jsonschema_rs

from capsules.errors import Invalid

MAX_MESSAGE = 300
MAX_NESTED = 200
"""Levels of lists and mappings in a value or a schema (RFC 8259, section 9). The library recurses on the stack."""
UNUSABLE = (TypeError, ValueError)
"""What the library and `json` raise for a schema or a value that is no JSON."""
_NO_PATTERN = ' is not a "regex"'
_CONTAINERS = (dict, list, tuple)
_META_SCHEMA = "https://json-schema.org/draft/2020-12/schema"
_PATTERNS = jsonschema_rs.RegexOptions()  # without look-around and back-references, which need more than linear time


@dataclass(frozen=True)
class SchemaProblem:
    """One place at which a value does not follow a schema."""

    path: tuple[str | int, ...]
    message: str
    value: Any
    keyword: str = ""
    """The keyword of the schema that the value breaks, and what it asks for."""
    wanted: Any = None

    def __str__(self) -> str:
        return f"{self.json_path}: {self.message}"

    @property
    def json_path(self) -> str:
        """The place as a JSONPath (RFC 9535): `$.items[0].name`."""
        return "$" + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in self.path)


def schema_problems(schema: object) -> list[SchemaProblem]:
    """Return why this is not a schema that can be used; an empty list when it can."""
    found = _collect(_meta_schema(), schema)
    if not found:
        try:
            _compiled(_text(schema))
        except jsonschema_rs.ValidationError as error:
            found.append(_problem(error))
        except UNUSABLE as error:
            found.append(SchemaProblem((), _first_line(error), schema))
    return found


def value_problems(schema: object, value: object, *, most: int = 50) -> list[SchemaProblem]:
    """Return at most so many problems of a value. Raises Invalid when the schema itself cannot be used."""
    try:
        validator = _compiled(_text(schema))
    except UNUSABLE as error:
        raise Invalid(f"The JSON Schema cannot be used: {_first_line(error)}") from error
    return _collect(validator, value, most=most)


def _collect(validator: jsonschema_rs.Validator, value: object, *, most: int = 50) -> list[SchemaProblem]:
    if _is_too_deep(value):
        return [SchemaProblem((), f"nested more than {MAX_NESTED} levels deep", value)]
    try:
        found = (_problem(error) for error in validator.iter_errors(value))
        return list(islice(_without_repeats(found), most))
    except UNUSABLE as error:  # a number that JSON has not, or a text that is not Unicode
        return [SchemaProblem((), _first_line(error), value)]


def _without_repeats(problems: Iterable[SchemaProblem]) -> Iterable[SchemaProblem]:
    """Yield each problem once: a recursive schema reports one for each way that leads to it."""
    seen = set()
    for problem in problems:
        if (at := (problem.path, problem.message)) not in seen:
            seen.add(at)
            yield problem


def _problem(error: jsonschema_rs.ValidationError) -> SchemaProblem:
    message = error.message
    if isinstance(error.kind, jsonschema_rs.ValidationErrorKind.Referencing):
        message = _first_line(error.kind.value)
    elif message.endswith(_NO_PATTERN):
        message = f"{message.removesuffix(_NO_PATTERN)} is not a regular expression that matches in linear time"
        message += " (no look-around, no back-reference)"
    return SchemaProblem(
        tuple(error.instance_path), message[:MAX_MESSAGE], error.instance, error.kind.name, error.kind.value
    )


@lru_cache(maxsize=1)
def _meta_schema() -> jsonschema_rs.Validator:
    return _compile({"$ref": _META_SCHEMA})


@lru_cache(maxsize=1024)
def _compiled(schema: str) -> jsonschema_rs.Validator:
    return _compile(json.loads(schema))


def _compile(schema: Any) -> jsonschema_rs.Validator:  # noqa: ANN401 - any JSON value
    return jsonschema_rs.Draft202012Validator(
        schema, validate_formats=True, retriever=_refuse, pattern_options=_PATTERNS
    )


def _refuse(uri: str) -> Any:  # noqa: ANN401 - the library's signature
    raise ValueError(f"{uri!r} is not fetched")


def _is_too_deep(value: object) -> bool:
    level = {0: value}
    for _ in range(MAX_NESTED + 1):
        # By identity: a YAML alias may lead to one list from many places.
        level = {id(inner): inner for outer in level.values() for inner in _containers(outer)}
        if not level:
            return False
    return True


def _containers(value: object) -> list[object]:
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, _CONTAINERS) else ()
    return [each for each in inside if isinstance(each, _CONTAINERS)]


def _text(schema: object) -> str:
    if _is_too_deep(schema):
        raise ValueError(f"it is nested more than {MAX_NESTED} levels deep")
    return json.dumps(schema, sort_keys=True, allow_nan=False)


def _first_line(error: Exception) -> str:
    said = str(error).partition("\n")[0]
    resource, outside, _ = said.removeprefix("Resource ").partition(" is not present in a registry")
    return (f"{resource} is outside of this schema, and nothing is fetched" if outside else said)[:MAX_MESSAGE]
