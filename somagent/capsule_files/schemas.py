"""JSON Schemas inside a capsule, and the values and mappings that must fit them."""

from collections.abc import Mapping
from typing import Any

from capsules.errors import DocumentPath
from capsules.expressions import expressions_in
from capsules.json_schema import SchemaProblem, schema_problems, texts_in, value_problems
from somagent.capsule_files.expression_scope import ExpressionScope
from somagent.capsule_files.problems import ProblemCollector, suggestion, type_name
from somagent.capsule_files.references import check_template, plain_path

TYPES = "array, boolean, integer, null, number, object, string"


def check_schema(
    problems: ProblemCollector, path: DocumentPath, schema: Mapping[str, Any], *, of_object: bool = False
) -> bool:
    """Check a schema and return whether it is valid, so that values can be checked against it."""
    before = len(problems.found)
    for where, key, text in texts_in(schema, path):
        if key in {"$ref", "$dynamicRef"} and not text.startswith("#"):
            problems.add(where, f"{text!r} is outside of this file.", expected="`#/…`, a place in the same schema")
    if len(problems.found) == before:
        for problem in schema_problems(schema):
            where = (*path, *problem.path)
            problems.add(where, f"This is not JSON Schema: {_reason(problem)}.", expected=_expected(problem))
    if of_object and schema.get("type") != "object":
        problems.add((*path, "type"), "This schema is not one of a mapping.", expected="`type: object`")
    return len(problems.found) == before


def check_value(
    problems: ProblemCollector, path: DocumentPath, value: object, schema: Mapping[str, Any], *, of: str
) -> None:
    """Check a literal value against a valid schema."""
    for problem in value_problems(schema, value):
        problems.add((*path, *problem.path), f"This does not fit {of}: {problem.message}.")


def check_mapping(  # noqa: PLR0913 - each describes the mapping
    problems: ProblemCollector,
    path: DocumentPath,
    given: Mapping[str, Any],
    schema: Mapping[str, Any],
    scope: ExpressionScope,
    *,
    of: str,
    complete: bool,
) -> None:
    """Check a `with` mapping against the schema of its target. `complete`: missing members are a problem."""
    check_template(problems, path, dict(given), scope)
    properties: Mapping[str, Any] = schema.get("properties", {})
    if complete:
        for name in schema.get("required", ()):
            if name not in given:
                problems.add(
                    path, f"{of} needs `{name}`, which is not given.", expected=_type_names(properties.get(name))
                )
    for name, value in given.items():
        where = (*path, name)
        if name in properties:
            _check_argument(problems, where, value, properties[name], scope, of=of)
        elif not _accepts_other_members(schema):
            message = f"{of} takes no `{name}`.{suggestion(name, properties)}"
            problems.add(where, message, expected=f"one of {', '.join(properties)}", key=True)


def _check_argument(  # noqa: PLR0913 - see above
    problems: ProblemCollector, path: DocumentPath, value: object, schema: object, scope: ExpressionScope, *, of: str
) -> None:
    if not isinstance(schema, Mapping):
        return
    if not expressions_in(value):
        check_value(problems, path, value, schema, of=of)
        return
    found = _types_of(value, scope)
    if not _are_compatible(found, _types(schema)):
        message = f"{of} wants {_type_names(schema)} as `{path[-1]}`; this gives {' or '.join(sorted(found))}."
        problems.add(path, message, expected=_type_names(schema))


def _types_of(value: object, scope: ExpressionScope) -> frozenset[str]:
    """Return the types that a value with templates can have; empty when unknown."""
    if isinstance(value, Mapping):
        return frozenset({"object"})
    if isinstance(value, list | tuple):
        return frozenset({"array"})
    text = str(value).strip()
    expressions = expressions_in(text)
    whole = len(expressions) == 1 and text.startswith("${{") and text.endswith("}}")
    if not whole:
        return frozenset({"string"})
    path = plain_path(expressions[0])
    return _types(scope.schema_of(path)) if path else frozenset()


def _accepts_other_members(schema: Mapping[str, Any]) -> bool:
    """Return whether a schema accepts members that it does not list. One with only `properties` does not."""
    if "patternProperties" in schema or not schema.get("properties"):
        return schema.get("additionalProperties") is not False
    return schema.get("additionalProperties", False) is not False


def _type_names(schema: object) -> str:
    named = sorted(_types(schema)) if isinstance(schema, Mapping) else []
    return " or ".join(named) or "a value"


def _types(schema: Mapping[str, Any] | None) -> frozenset[str]:
    """Return the types that a schema allows; empty when it names none."""
    if not schema:
        return frozenset()
    if "type" in schema:
        named = schema["type"]
        return frozenset([named] if isinstance(named, str) else named)
    choices = [_types(choice) for choice in schema.get("anyOf", ())]
    return frozenset().union(*choices) if all(choices) else frozenset()


def _are_compatible(given: frozenset[str], wanted: frozenset[str]) -> bool:
    """Return whether a value of a given type can have one of the wanted types; unknown types agree with all."""
    if not given or not wanted or given & wanted:
        return True
    return "integer" in given and "number" in wanted


def _reason(problem: SchemaProblem) -> str:
    if problem.keyword not in {"type", "anyOf"}:
        return problem.message
    value = problem.value
    return f"{value!r} stands here" if isinstance(value, str | int | float) else f"{type_name(value)} stands here"


def _expected(problem: SchemaProblem) -> str:
    if problem.path and problem.path[-1] in {"type", "pattern"}:
        return "a regular expression" if problem.path[-1] == "pattern" else f"one of {TYPES}"
    return str(problem.wanted) if problem.keyword == "type" else problem.message[:200]
