"""Capsule files of two older dialects, brought over as far as they go, with every loss said.

The first names its capsule `capsule_id` and runs `execution.steps`; the second names it `id` and has `workflow` or
`planner`. Nothing is made up: what has no place in today's format becomes a problem, what was decided for the author a
note. A capsule that comes with problems is a draft.
"""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from capsules.capsule import Capsule
from capsules.errors import Invalid
from somagent.capsulefile.document import Document, read
from somagent.capsulefile.draft import Draft
from somagent.capsulefile.load import parse
from somagent.capsulefile.oldsteps import carry_steps
from somagent.capsulefile.problems import Places

_TYPES = {"string", "integer", "number", "boolean", "array", "object"}
_SAME_TYPE = {"str": "string", "text": "string", "int": "integer", "float": "number", "bool": "boolean"} | {
    "list": "array",
    "dict": "object",
    "map": "object",
}


class ImportResult(BaseModel):
    """What an import gave: the capsule where there is enough for one, what was decided, and what was lost."""

    model_config = ConfigDict(frozen=True)

    capsule: Capsule | None
    notes: tuple[str, ...] = Field((), description="Decisions taken on the way; the meaning is kept.")
    problems: tuple[str, ...] = Field((), description="What was not carried over, or must be added before it runs.")


def import_dialect(text: str, *, filename: str = "capsule.yaml") -> ImportResult:
    """Bring an older file over. Raises Invalid when it is of neither dialect."""
    document = read(text, filename=filename)
    old = document.value
    if "capsule_id" in old:
        draft = _first(Draft(old))
    elif "id" in old and {"workflow", "planner"} & old.keys():
        draft = _second(Draft(old))
    else:
        known = ", ".join(f"`{name}`" for name in old) or "nothing"
        raise Invalid(
            f"{filename} is of neither older dialect: expected `capsule_id` with `execution`, or `id` with `workflow` "
            f"or `planner`; it has {known}."
        )
    draft.refuse_rest()
    capsule = _built(draft, filename)
    return ImportResult(capsule=capsule, notes=tuple(draft.notes), problems=tuple(draft.problems))


def _built(draft: Draft, filename: str) -> Capsule | None:
    try:
        return parse(Document(filename, draft.capsule(), Places()), Capsule)
    except Invalid as error:
        draft.problems.extend(
            f"{one['path']}: {one['message']} Expected: {one['expected']}." for one in error.fields.get("problems", ())
        )
        return None


def _first(draft: Draft) -> Draft:
    metadata = draft.take("metadata", {}, dict)
    draft.identify(str(draft.take("capsule_id", "")), draft.take("version", metadata.get("version", "")))
    draft.describe(metadata.get("summary") or draft.take("summary", "") or draft.take("description", ""))
    draft.own(str(metadata.get("owner", "")), str(metadata.get("category", "")))
    _carry_persona(draft, draft.take("persona_shot", ""))
    execution = draft.take("execution", {}, dict)
    declared = {str(t.get("adapter")): [str(a) for a in t.get("actions", [])] for t in draft.take("tools", [], list)}
    variables = carry_steps(draft, execution.pop("steps", []), declared)
    draft.lose("execution", execution)
    _inputs_from_variables(draft, variables)
    _carry_policies(draft, draft.take("policies", {}, dict))
    for node in draft.take("knowledge", [], list):
        name = node.get("node_id", node) if isinstance(node, dict) else node
        draft.problems.append(f"Knowledge {name!r} was not carried over: this format has no knowledge nodes yet.")
    return draft


def _second(draft: Draft) -> Draft:
    draft.identify(str(draft.take("id", "")), draft.take("version", ""))
    draft.describe(draft.take("summary", "") or draft.take("description", ""))
    kind = str(draft.take("type", ""))
    steps = "the persona chooses its steps" if "planner" in draft.old else "its steps are actions of one run"
    draft.notes.append(f"Type {kind or 'unset'!r} became `atomic`: {steps}, not child capsules.")
    _inputs_as_listed(draft, draft.take("inputs", [], list))
    _carry_outputs(draft, draft.take("outputs", {}, dict))
    workflow = draft.take("workflow", {}, dict)
    planner = draft.take("planner", {}, dict)
    if workflow:
        variables = carry_steps(draft, workflow.pop("steps", []), {})
        draft.lose("workflow", workflow)
        for name in sorted(variables - draft.inputs["properties"].keys()):
            draft.inputs["properties"][name] = {}
            draft.notes.append(f"Input {name!r} is used and not listed; it takes any value now.")
    if planner:
        _carry_planner(draft, planner)
    return draft


def _carry_persona(draft: Draft, old: object) -> None:
    if not old:
        return
    name, _, version = str(old).rpartition("_v")
    if not version.isdigit():
        name, version = str(old), ""
    reference = name.replace("_", "-").lower() + (f"@^{version}" if version else "")
    draft.spec["persona"] = reference
    draft.spec["model"] = {"role": "dialogue"}
    draft.problems.append(f"Persona {old!r} is `{reference}` now and must exist before the capsule is published.")


def _carry_policies(draft: Draft, policies: dict[str, Any]) -> None:
    tokens = policies.pop("budget_tokens", None)
    if isinstance(tokens, int):
        draft.spec["budget"]["tokens"] = tokens
    if policies.pop("requires_review", False):
        draft.spec["guardrails"]["autonomy"] = "manual"
        draft.problems.append(
            "`requires_review` was not carried over as it was: a review of the result has no place yet. "
            "Autonomy is `manual`, so a person decides each use of a tool."
        )
    draft.lose("policies", policies)


def _carry_planner(draft: Draft, planner: dict[str, Any]) -> None:
    prompt = str(planner.pop("prompt", "")).strip()
    if prompt:
        draft.spec["intent"] = prompt
    draft.spec["guardrails"]["max_steps"] = 10
    draft.notes.append("A planner chooses its own steps; 10 is the most it may take.")
    heuristics = planner.pop("heuristics", {}) or {}
    tokens = heuristics.pop("default_budget_tokens", None)
    if isinstance(tokens, int):
        draft.spec["budget"]["tokens"] = tokens
    draft.spec["model"] = {"role": "dialogue"}
    draft.problems.append("A planner names no persona: set `spec.persona`.")
    draft.lose("planner.heuristics", heuristics)
    draft.lose("planner", planner)


def _inputs_from_variables(draft: Draft, variables: set[str]) -> None:
    for name in sorted(variables):
        draft.inputs["properties"][name] = {}
        draft.notes.append(f"Input {name!r} is used in a template; it takes any value, for its type was never written.")


def _inputs_as_listed(draft: Draft, listed: list[Any]) -> None:
    required = []
    for entry in listed:
        if not isinstance(entry, dict) or "name" not in entry:
            draft.problems.append(f"Input {entry!r} was not carried over: it has no name.")
            continue
        rest = dict(entry)
        name, kind = str(rest.pop("name")), str(rest.pop("type", ""))
        kind = _SAME_TYPE.get(kind, kind)
        schema: dict[str, Any] = {"type": kind} if kind in _TYPES else {}
        if kind and not schema:
            draft.problems.append(
                f"Input {name!r} has the type {kind!r}, which JSON Schema does not know; it takes any value."
            )
        if rest.pop("required", False):
            required.append(name)
        schema |= {key: rest.pop(key) for key in ("description", "default") if key in rest}
        draft.lose(f"inputs.{name}", rest)
        draft.inputs["properties"][name] = schema
    if required:
        draft.inputs["required"] = required


def _carry_outputs(draft: Draft, outputs: dict[str, Any]) -> None:
    if not outputs:
        return
    properties: dict[str, Any] = {}
    for name, entry in outputs.items():
        rest = dict(entry) if isinstance(entry, dict) else {}
        properties[name] = {"description": str(rest.pop("description"))} if "description" in rest else {}
        fields = rest.pop("schema", None)
        if isinstance(fields, list) and all(isinstance(field, str) for field in fields):
            properties[name]["items"] = {"type": "object", "properties": {field: {} for field in fields}}
            draft.notes.append(f"Output {name!r} lists {len(fields)} fields; where it is a list, its items have them.")
        elif fields is not None:
            draft.problems.append(f"The schema of output {name!r} was not carried over: write it as JSON Schema.")
        draft.lose(f"outputs.{name}", rest)
    draft.spec["deliverable"] = {"schema": {"type": "object", "properties": properties}}
    if "workflow" in draft.old:
        draft.problems.append("Set `spec.deliverable.value`: the old file does not say which step gives which output.")
