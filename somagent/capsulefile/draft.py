"""A capsule under construction from an older file: what was taken, decided and lost."""

import re
from typing import Any

_CARRIED_LATER = "it has no place in this format"


class Draft:
    """Takes fields out of the old file one by one; what nobody took is told as lost."""

    def __init__(self, old: dict[str, Any]) -> None:
        self.old = dict(old)
        self.notes: list[str] = []
        self.problems: list[str] = []
        self.metadata: dict[str, Any] = {}
        self.inputs: dict[str, Any] = {"type": "object", "properties": {}}
        self.spec: dict[str, Any] = {
            "type": "atomic",
            "inputs": self.inputs,
            "guardrails": {"max_steps": 1},
            "budget": {"tokens": 0, "tool_calls": 0},
        }
        self._left = dict(old)

    def take(self, name: str, default: Any, kind: type | None = None) -> Any:  # noqa: ANN401 - any YAML value
        """Take a field; one of the wrong kind is lost and said so."""
        value = self._left.pop(name, default)
        if value is None:
            return default
        if kind is not None and not isinstance(value, kind):
            self.problems.append(f"`{name}` was not carried over: it is not a {kind.__name__}.")
            return default
        return dict(value) if isinstance(value, dict) else value

    def lose(self, where: str, rest: dict[str, Any]) -> None:
        """Say that these fields were not carried over."""
        for name in rest:
            self.problems.append(f"`{where}.{name}` was not carried over: {_CARRIED_LATER}.")

    def refuse_rest(self) -> None:
        """Say what nobody took."""
        for name in self._left:
            self.problems.append(f"`{name}` was not carried over: {_CARRIED_LATER}.")
        self._left = {}

    def identify(self, name: str, version: object) -> None:
        hyphened = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
        if hyphened != name:
            self.notes.append(f"The name {name!r} became {hyphened!r}: names are words joined by hyphens.")
        numbers = re.findall(r"\d+", str(version))[:3]
        whole = ".".join([*numbers, "0", "0", "0"][:3])
        if whole != str(version):
            self.notes.append(f"The version {version!r} became {whole!r}: versions have three numbers.")
        self.metadata |= {"name": hyphened, "version": whole}

    def describe(self, summary: object) -> None:
        text = str(summary).strip()
        if not text:
            text = f"Imported from {self.old.get('capsule_id') or self.old.get('id')}."
            self.problems.append("The old file has no summary: write `metadata.summary` and `spec.intent`.")
        self.metadata["summary"] = text[:300]
        self.spec["intent"] = text[:4000]

    def own(self, owner: str, category: str) -> None:
        if owner:
            self.metadata["owner"] = owner
        if category:
            self.metadata["labels"] = {"category": category}

    def capsule(self) -> dict[str, Any]:
        """Return the capsule file's content."""
        return {"apiVersion": "somagent/v1", "kind": "Capsule", "metadata": self.metadata, "spec": self.spec}
