"""What an expression at some place of a capsule can see: variables, ids, and the schemas behind them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from capsules.capsule import Capsule, Spec, Step

_TOOL_RESULT: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "output": {},
        "ok": {"type": "boolean"},
        "exit_code": {"type": "integer"},
        "text": {"type": "string"},
        "error": {"type": "string"},
        "content": {"type": ["string", "null"]},
        "duration_ms": {"type": "integer"},
    },
}


@dataclass(frozen=True)
class Sight:
    """Variables by name with their schemas; `group` is `steps` or `tasks` and `ids` are those that ended before."""

    schemas: Mapping[str, Any]
    ids: tuple[str, ...] | None = None

    @property
    def variables(self) -> tuple[str, ...]:
        return tuple(self.schemas)


def of_inputs(spec: Spec) -> Sight:
    return Sight({"inputs": spec.inputs})


def of_deliverable(spec: Spec) -> Sight:
    """Return what acceptance expressions see."""
    return Sight({"output": spec.deliverable.shape, "inputs": spec.inputs})


def of_steps(spec: Spec, count: int) -> Sight:
    """Return what the step after the first `count` steps sees."""
    before = spec.steps[:count]
    schemas = {step.id: _step_result(step, spec) for step in before}
    return Sight({"inputs": spec.inputs, "steps": _closed(schemas)}, ids=tuple(schemas))


def of_tasks(spec: Spec, ids: tuple[str, ...], children: Mapping[str, Capsule]) -> Sight:
    """Return what sees these tasks' results."""
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
    return Sight({"inputs": spec.inputs, "tasks": _closed(schemas)}, ids=ids)


def _step_result(step: Step, spec: Spec) -> dict[str, Any]:
    if step.use is not None:
        return _TOOL_RESULT
    return _closed({"output": step.shape or spec.deliverable.shape})


def _output(child: Capsule | None) -> Mapping[str, Any]:
    return child.spec.deliverable.shape if child else {}


def _closed(properties: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": False, "properties": properties}
