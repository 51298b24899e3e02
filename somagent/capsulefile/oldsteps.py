"""Steps of older files: `adapter.action` with `{{ name | default(x) }}` become tool actions with `${{ CEL }}`."""

import json
import re
from typing import Any

from somagent.capsulefile.draft import Draft

_TEMPLATE = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)
_VARIABLE = re.compile(r"^([A-Za-z_]\w*)((?:\.\w+)*)$")
_DEFAULT = re.compile(r"^([A-Za-z_]\w*)\s*\|\s*default\((.*)\)$", re.DOTALL)
_WORD = re.compile(r"[^a-z0-9]+")


def carry_steps(draft: Draft, steps: Any, declared: dict[str, list[str]]) -> set[str]:  # noqa: ANN401 - as the file has it
    """Carry the steps and tools over; return the names of the inputs that they use."""
    carrying = _Carrying(draft)
    carried = [carrying.step(step, index) for index, step in enumerate(steps if isinstance(steps, list) else [])]
    found = [step for step in carried if step is not None]
    draft.spec["steps"] = found
    draft.spec["guardrails"]["max_steps"] = max(1, len(found))
    draft.spec["budget"]["tool_calls"] = len(found)
    if found:
        draft.notes.append(f"The budget allows {len(found)} tool calls, one for each step.")
    _carry_tools(draft, found, declared)
    return carrying.inputs


def _carry_tools(draft: Draft, steps: list[dict[str, Any]], declared: dict[str, list[str]]) -> None:
    tools: dict[str, list[str]] = {
        _kebab(adapter): [_snake(a) for a in actions] for adapter, actions in declared.items()
    }
    for step in steps:
        name, _, action = step["use"].partition("/")
        actions = tools.setdefault(name, [])
        if action not in actions:
            actions.append(action)
    draft.spec["tools"] = [{"use": name, "actions": actions} for name, actions in tools.items() if actions]
    for name in tools:
        draft.problems.append(f"The capsule needs a tool {name!r}; it must exist before the capsule is published.")


class _Carrying:
    """Remembers what earlier steps saved, under which names."""

    def __init__(self, draft: Draft) -> None:
        self.inputs: set[str] = set()
        self._draft = draft
        self._saved: dict[str, str] = {}
        self._ids: set[str] = set()

    def step(self, old: Any, index: int) -> dict[str, Any] | None:  # noqa: ANN401 - as the file has it
        if not isinstance(old, dict) or "action" not in old:
            self._draft.problems.append(f"Step {index + 1} was not carried over: it has no action.")
            return None
        rest = dict(old)
        action = str(rest.pop("action"))
        name = str(rest.pop("name", action))
        adapter, dot, verb = action.rpartition(".")
        if not dot:
            self._draft.problems.append(
                f"Step {name!r} was not carried over: {action!r} names no adapter; expected `adapter.action`."
            )
            return None
        step_id = self._identifier(name)
        made: dict[str, Any] = {"id": step_id, "use": f"{_kebab(adapter)}/{_snake(verb)}"}
        params = rest.pop("params", None)
        if params:
            made["with"] = self._value(params, name)
        saved = rest.pop("save_as", None)
        if saved:
            self._saved[str(saved)] = step_id
        self._draft.lose(f"steps.{name}", rest)
        return made

    def _identifier(self, name: str) -> str:
        made = _snake(name)
        while made in self._ids:
            made += "_again"
        self._ids.add(made)
        return made

    def _value(self, value: Any, step: str) -> Any:  # noqa: ANN401 - any YAML value
        match value:
            case str():
                return _TEMPLATE.sub(lambda found: self._expression(found[1].strip(), step), value)
            case dict():
                return {key: self._value(item, step) for key, item in value.items()}
            case list():
                return [self._value(item, step) for item in value]
            case _:
                return value

    def _expression(self, text: str, step: str) -> str:
        variable = _VARIABLE.match(text)
        if variable:
            return f"${{{{ {self._source(variable[1])}{variable[2]} }}}}"
        default = _DEFAULT.match(text)
        value = _literal(default[2].strip()) if default else None
        if default and value is not None:
            source = self._source(default[1])
            return f"${{{{ has({source}) ? {source} : {value} }}}}"
        self._draft.problems.append(
            f"Step {step!r}: the template {{{{ {text} }}}} was not carried over; write it as a CEL expression."
        )
        return f"{{{{ {text} }}}}"

    def _source(self, name: str) -> str:
        if name in self._saved:
            return f"steps.{self._saved[name]}.output"
        self.inputs.add(name)
        return f"inputs.{name}"


def _literal(text: str) -> str | None:
    """Return a default value as CEL, where it is a plain one."""
    quoted = re.fullmatch(r"'([^'\\]*)'", text)
    try:
        value = quoted[1] if quoted else json.loads(text.lower() if text in {"True", "False"} else text)
    except ValueError:
        return None
    return json.dumps(value) if isinstance(value, str | int | float | bool | list) else None


def _kebab(name: str) -> str:
    return _WORD.sub("-", name.lower()).strip("-")


def _snake(name: str) -> str:
    made = _WORD.sub("_", name.lower()).strip("_")
    return made if made[:1].isalpha() else f"step_{made}"
