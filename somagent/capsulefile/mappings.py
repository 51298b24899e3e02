"""A `with` mapping against the schema it fills: what is missing, unknown, or of the wrong type."""

from collections.abc import Mapping
from typing import Any

from capsules.expressions import expressions_in
from somagent.capsulefile.findings import Findings
from somagent.capsulefile.problems import Path
from somagent.capsulefile.references import plain_path, schema_behind
from somagent.capsulefile.schemas import agree, check_value, types
from somagent.capsulefile.sight import Sight
from somagent.capsulefile.translate import suggestion


def check_mapping(  # noqa: PLR0913 - each says one thing about the mapping
    findings: Findings,
    path: Path,
    given: Mapping[str, Any],
    schema: Mapping[str, Any],
    sight: Sight,
    *,
    of: str,
    complete: bool,
) -> None:
    """Check a mapping; `complete` says that nobody else fills in what is missing."""
    findings.template(path, dict(given), sight)
    properties: Mapping[str, Any] = schema.get("properties", {})
    if complete:
        for name in schema.get("required", ()):
            if name not in given:
                findings.add(path, f"{of} needs `{name}`, which is not given.", expected=_wanted(properties.get(name)))
    for name, value in given.items():
        where = (*path, name)
        if name in properties:
            _check_value(findings, where, value, properties[name], sight, of=of)
        elif not _open(schema):
            message = f"{of} takes no `{name}`.{suggestion(name, properties)}"
            findings.add(where, message, expected=f"one of {', '.join(properties)}", key=True)


def _check_value(  # noqa: PLR0913 - see above
    findings: Findings, path: Path, value: object, schema: object, sight: Sight, *, of: str
) -> None:
    if not isinstance(schema, Mapping):
        return
    if not expressions_in(value):
        check_value(findings, path, value, schema, of=of)
        return
    found = _types_of(value, sight)
    if not agree(found, types(schema)):
        message = f"{of} wants {_wanted(schema)} as `{path[-1]}`; this gives {' or '.join(sorted(found))}."
        findings.add(path, message, expected=_wanted(schema))


def _types_of(value: object, sight: Sight) -> frozenset[str]:
    """Return the types that a value with templates can take, where that is known."""
    if isinstance(value, Mapping):
        return frozenset({"object"})
    if isinstance(value, list | tuple):
        return frozenset({"array"})
    text = str(value).strip()
    expressions = expressions_in(text)
    whole = len(expressions) == 1 and text.startswith("${{") and text.endswith("}}")
    if not whole:
        return frozenset({"string"})
    chain = plain_path(expressions[0])
    return types(schema_behind(chain, sight)) if chain else frozenset()


def _open(schema: Mapping[str, Any]) -> bool:
    """Say whether a schema means to take names that it does not list; one that says nothing lists what it takes."""
    if "patternProperties" in schema or not schema.get("properties"):
        return schema.get("additionalProperties") is not False
    return schema.get("additionalProperties", False) is not False


def _wanted(schema: object) -> str:
    named = sorted(types(schema)) if isinstance(schema, Mapping) else []
    return " or ".join(named) or "a value"
