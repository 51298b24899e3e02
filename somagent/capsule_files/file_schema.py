"""JSON Schema of capsule files, and the translation of pydantic's errors into problems of a file."""

from collections.abc import Callable
from functools import cache
from typing import Any

from pydantic import ValidationError

from capsules.capsule import Capsule
from capsules.errors import DocumentPath
from capsules.names import Identifier, Name, Version
from somagent.capsule_files.problems import FileProblem, Places, file_problem, suggestion, type_name

IDENTIFIER = "urn:somagent:capsule:v1"
type Context = dict[str, Any]

# Pydantic's errors contain the pattern of a text; messages describe the kind of text instead.
_KINDS: tuple[tuple[Any, str], ...] = (
    (Name, "lower-case words joined by hyphens, such as `log-triage`"),
    (Identifier, "a lower-case name with underscores, such as `parse_log`"),
    (Version, "a version of three numbers, such as `1.4.0`"),
)
_PATTERNS = {kind.__metadata__[0].pattern: words for kind, words in _KINDS} | {
    r"^[a-z][a-z0-9-]*/[a-z][a-z0-9_]*$": "tool and action, such as `python/run`"
}

_WANTED: dict[str, Callable[[Context], str]] = {
    "string_type": lambda _: "text; put numbers and such in quotes",
    "int_type": lambda _: "a whole number",
    "int_from_float": lambda _: "a whole number",
    "float_type": lambda _: "a number",
    "bool_type": lambda _: "true or false",
    "dict_type": lambda _: "a mapping",
    "model_type": lambda _: "a mapping",
    "model_attributes_type": lambda _: "a mapping",
    "tuple_type": lambda _: "a list",
    "list_type": lambda _: "a list",
    "literal_error": lambda c: f"one of {str(c.get('expected', '')).replace(' or ', ', ')}",
    "string_pattern_mismatch": lambda c: _PATTERNS.get(c.get("pattern"), f"text that matches {c.get('pattern')}"),
    "greater_than_equal": lambda c: f"at least {_number(c['ge'])}",
    "greater_than": lambda c: f"more than {_number(c['gt'])}",
    "less_than_equal": lambda c: f"at most {_number(c['le'])}",
    "less_than": lambda c: f"less than {_number(c['lt'])}",
    "string_too_short": lambda c: f"at least {_count(c['min_length'], 'character')}",
    "string_too_long": lambda c: f"at most {_count(c['max_length'], 'character')}",
    "too_short": lambda c: f"at least {_count(c['min_length'], 'item')}",
    "too_long": lambda c: f"at most {_count(c['max_length'], 'item')}",
}


def schema() -> dict[str, Any]:
    """Return the JSON Schema of capsule files, as `/v1/schemas/capsule.json` serves it."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": IDENTIFIER, **_capsule_schema()}


def translate(error: ValidationError, places: Places) -> tuple[FileProblem, ...]:
    """Return one problem for each of pydantic's errors, in the terms of the file format."""
    return tuple(_translate_error(entry, places) for entry in error.errors(include_url=False))


def _translate_error(entry: Any, places: Places) -> FileProblem:  # noqa: ANN401 - pydantic's own shape
    path: DocumentPath = tuple(entry["loc"])
    given, context, kind = entry["input"], entry.get("ctx", {}), entry["type"]
    match kind:
        case "missing":
            return file_problem(places, path, f"`{path[-1]}` is missing.", expected=_expected_at(path))
        case "extra_forbidden":
            return _unknown(path, places)
        case "value_error":
            return _from_validator(path, places, str(context["error"]), given)
        case _:
            wanted = _WANTED[kind](context) if kind in _WANTED else entry["msg"]
            return file_problem(places, path, f"{_format_value(given)} does not fit here.", expected=wanted)


def _unknown(path: DocumentPath, places: Places) -> FileProblem:
    known = _fields_at(path[:-1])
    message = f"`{path[-1]}` is not a field.{suggestion(str(path[-1]), known)}"
    return file_problem(places, path, message, expected=f"one of {', '.join(known)}" if known else "", key=True)


def _from_validator(path: DocumentPath, places: Places, words: str, given: object) -> FileProblem:
    """Translate an error of our own validators: `what is wrong; expected what is right`, or a rule alone."""
    wrong, _, right = words.partition("; expected ")
    if not right:
        return file_problem(places, path, f"{_format_value(given)} does not fit here.", expected=wrong)
    return file_problem(places, path, f"{wrong}.", expected=right)


def _expected_at(path: DocumentPath) -> str:
    inside = _fields_at(path)
    if inside:
        return f"a mapping with {', '.join(f'`{name}`' for name in inside)}"
    return _description_at(path).partition(". ")[0].removesuffix(".") or "a value"


def _format_value(value: object) -> str:
    match value:
        case str() if len(value) > 60:
            return f"{value[:57]!r}…"
        case str() | bool() | int() | float():
            return str(value).lower() if isinstance(value, bool) else repr(value)
        case _:
            return type_name(value).capitalize()


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _fields_at(path: DocumentPath) -> tuple[str, ...]:
    """Return the field names that a mapping at `path` may have; empty where it may have any."""
    node = _schema_at(path)
    return tuple(node.get("properties", {})) if node else ()


def _description_at(path: DocumentPath) -> str:
    """Return the schema's description of the value at `path`."""
    node = _schema_at(path)
    return str(node.get("description", "")) if node else ""


@cache
def _capsule_schema() -> dict[str, Any]:
    return Capsule.model_json_schema(by_alias=True, mode="validation")


def _schema_at(path: DocumentPath) -> dict[str, Any] | None:
    node = _capsule_schema()
    for part in path:
        found = node.get("items") if isinstance(part, int) else node.get("properties", {}).get(part)
        if not isinstance(found, dict):
            return None
        node = _resolve(found)
    return node


def _resolve(node: dict[str, Any]) -> dict[str, Any]:
    """Follow references. Of an optional value, return the schema of the value."""
    while True:
        if "$ref" in node:
            name = str(node["$ref"]).rpartition("/")[2]
            node = {**_capsule_schema()["$defs"][name], **{k: v for k, v in node.items() if k == "description"}}
            continue
        choices = [c for c in node.get("anyOf", ()) if c.get("type") != "null"]
        if len(choices) != 1:
            return node
        node = {**choices[0], **{k: v for k, v in node.items() if k == "description"}}
