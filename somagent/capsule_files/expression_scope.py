"""Scope of an expression in a capsule: the variables that it can use, each with its JSON Schema."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from capsules.capsule import Capsule, Spec, Step
from capsules.tools.tool import ToolResult

type FieldPath = tuple[str, ...]
"""A variable and the fields that an expression follows from it: `("steps", "count", "output")`."""


@dataclass(frozen=True)
class ExpressionScope:
    """Variables by name, each with its schema."""

    schemas: Mapping[str, Any]

    @property
    def variables(self) -> tuple[str, ...]:
        return tuple(self.schemas)

    def schema_of(self, path: FieldPath) -> Mapping[str, Any] | None:
        """Return the schema of the value at a path, if it is known."""
        node: Any = self.schemas.get(path[0])
        for name in path[1:]:
            if not isinstance(node, Mapping):
                return None
            node = node.get("properties", {}).get(name)
        return node if isinstance(node, Mapping) else None

    def unknown_field(self, path: FieldPath) -> tuple[int, tuple[str, ...]] | None:
        """Return the index of the first field that its schema forbids, and the fields that the schema lists."""
        node: Any = self.schemas.get(path[0])
        for index, name in enumerate(path[1:], start=1):
            if not isinstance(node, Mapping):
                return None
            known = node.get("properties", {})
            if name not in known:
                closed = node.get("additionalProperties") is False and "patternProperties" not in node
                return (index, tuple(known)) if closed else None
            node = known[name]
        return None


def inputs_scope(spec: Spec) -> ExpressionScope:
    """Return the scope of an expression that can use the inputs only."""
    return ExpressionScope({"inputs": spec.inputs})


def deliverable_scope(spec: Spec) -> ExpressionScope:
    """Return the scope of acceptance expressions."""
    return ExpressionScope({"output": spec.deliverable.shape, "inputs": spec.inputs})


def steps_scope(spec: Spec, count: int) -> ExpressionScope:
    """Return the scope of the step after the first `count` steps."""
    schemas = {step.id: _step_result(step, spec) for step in spec.steps[:count]}
    return ExpressionScope({"inputs": spec.inputs, "steps": _closed(schemas)})


def tasks_scope(spec: Spec, ids: tuple[str, ...], children: Mapping[str, Capsule]) -> ExpressionScope:
    """Return the scope of an expression that can use the results of these tasks."""
    schemas = {
        task: _closed(
            {
                "output": _output(children.get(task)),
                "status": {"type": "string"},
                "reason": {"type": "string"},
                "run": {"type": "string"},
            }
        )
        for task in ids
    }
    return ExpressionScope({"inputs": spec.inputs, "tasks": _closed(schemas)})


def _step_result(step: Step, spec: Spec) -> dict[str, Any]:
    if step.use is not None:
        return ToolResult.model_json_schema()
    return _closed({"output": step.shape or spec.deliverable.shape})


def _output(child: Capsule | None) -> Mapping[str, Any]:
    return child.spec.deliverable.shape if child else {}


def _closed(properties: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": False, "properties": properties}
