"""The capsule file's own JSON Schema, and what it says a given place may hold."""

from functools import cache
from typing import Any

from capsules.capsule import Capsule
from somagent.capsulefile.problems import Path

IDENTIFIER = "urn:somagent:capsule:v1"


def schema() -> dict[str, Any]:
    """Return the JSON Schema of capsule files, as `/v1/schemas/capsule.json` serves it."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": IDENTIFIER,
        **Capsule.model_json_schema(by_alias=True, mode="validation"),
    }


def fields_at(path: Path) -> tuple[str, ...]:
    """Return the field names that a mapping at `path` may have; empty where any may stand."""
    node = _node(path)
    return tuple(node.get("properties", {})) if node else ()


def describe_at(path: Path) -> str:
    """Return what the schema says of the value at `path`, for the end of a message."""
    node = _node(path)
    return str(node.get("description", "")) if node else ""


@cache
def _own() -> dict[str, Any]:
    return Capsule.model_json_schema(by_alias=True, mode="validation")


def _node(path: Path) -> dict[str, Any] | None:
    node = _own()
    for part in path:
        found = node.get("items") if isinstance(part, int) else node.get("properties", {}).get(part)
        if not isinstance(found, dict):
            return None
        node = _resolve(found)
    return node


def _resolve(node: dict[str, Any]) -> dict[str, Any]:
    """Follow references, and take the one real choice of an optional value."""
    while True:
        if "$ref" in node:
            name = str(node["$ref"]).rpartition("/")[2]
            node = {**_own()["$defs"][name], **{k: v for k, v in node.items() if k == "description"}}
            continue
        choices = [c for c in node.get("anyOf", ()) if c.get("type") != "null"]
        if len(choices) != 1:
            return node
        node = {**choices[0], **{k: v for k, v in node.items() if k == "description"}}
