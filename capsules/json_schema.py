"""JSON Schema (draft 2020-12): the one validator of the product, for schemas and values that nobody here wrote.

A reference leads to a place in the same schema only: nothing is fetched and no file is opened.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from referencing import Registry
from referencing.exceptions import NoSuchResource, Unresolvable
from referencing.jsonschema import DRAFT202012

from capsules.errors import Invalid

MAX_MESSAGE = 300
MAX_NESTED = 200
"""Levels of lists and mappings in a value or a schema (RFC 8259, section 9). The library recurses on the stack."""
UNUSABLE = (Unresolvable, RecursionError, re.error)
SchemaPath = tuple[str | int, ...]
_CONTAINERS = (dict, list, tuple)


@dataclass(frozen=True)
class SchemaProblem:
    """One place at which a value does not follow a schema."""

    path: SchemaPath
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


def _refuse(uri: str) -> Any:  # noqa: ANN401 - the library's signature
    raise NoSuchResource(uri)


# mypy does not see the alias that attrs makes for this argument.
_EMPTY: Registry[Any] = Registry(retrieve=_refuse)  # type: ignore[call-arg]


def schema_problems(schema: object) -> list[SchemaProblem]:
    """Return why this is not a schema that can be used; an empty list when it can."""
    found = _collect(_meta_schema(), schema)
    for path, key, text in () if found else texts_in(schema):
        found += _problems_of_text(schema, path, key, text)
    return found


def value_problems(schema: Any, value: object, *, most: int = 50) -> list[SchemaProblem]:  # noqa: ANN401 - a schema
    """Return at most so many problems of a value. Raises Invalid when the schema itself cannot be used."""
    if _is_too_deep(schema):
        raise Invalid(f"The JSON Schema cannot be used: it is nested more than {MAX_NESTED} levels deep.")
    try:
        return _collect(_validator(schema), value, most=most)
    except UNUSABLE as error:
        raise Invalid(f"The JSON Schema cannot be used: {_shorten(str(error))}") from error


def _validator(schema: Any) -> Draft202012Validator:  # noqa: ANN401 - a schema
    return Draft202012Validator(schema, registry=_EMPTY)


@lru_cache(maxsize=1)
def _meta_schema() -> Draft202012Validator:
    # With the library's own registry, which holds the parts of the meta-schema.
    return Draft202012Validator(Draft202012Validator.META_SCHEMA)


def _collect(validator: Draft202012Validator, value: object, *, most: int = 50) -> list[SchemaProblem]:
    if _is_too_deep(value):
        return [SchemaProblem((), f"nested more than {MAX_NESTED} levels deep", value)]
    return list(islice(_problems(validator.iter_errors(value)), most))


def _problems(errors: Iterable[ValidationError]) -> Iterator[SchemaProblem]:
    for error in errors:
        wanted: Any = error.validator_value
        if error.validator == "required" and isinstance(wanted, list):  # one problem for each name that is missing
            wanted = next((name for name in wanted if error.message.startswith(f"{name!r} is ")), wanted)
        path, keyword = tuple(error.absolute_path), str(error.validator)
        yield SchemaProblem(path, _shorten(error.message), error.instance, keyword, wanted)


def _problems_of_text(schema: Any, path: SchemaPath, key: str, text: str) -> Iterator[SchemaProblem]:  # noqa: ANN401
    if key in {"$ref", "$dynamicRef"}:
        base = str(schema.get("$id", ""))
        resource = DRAFT202012.create_resource(schema)
        try:
            _EMPTY.with_resource(base, resource).resolver(base).lookup(text)
        except Unresolvable:
            yield SchemaProblem(path, f"{text!r} is no place in this schema, and nothing is fetched", text, key)
    elif key == "pattern":
        try:
            re.compile(text)
        except re.error as error:
            yield SchemaProblem(path, f"{text!r} is not a regular expression: {error}", text, key)


def texts_in(node: object, path: SchemaPath = ()) -> Iterator[tuple[SchemaPath, str, str]]:
    """Yield every text below a node, with its path and key."""
    if isinstance(node, dict):
        for key, inner in node.items():
            if isinstance(inner, str):
                yield (*path, key), key, inner
            else:
                yield from texts_in(inner, (*path, key))
    elif isinstance(node, list | tuple):
        for index, inner in enumerate(node):
            yield from texts_in(inner, (*path, index))


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


def _shorten(text: str) -> str:
    return text[:MAX_MESSAGE]
