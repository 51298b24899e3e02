"""The shipped library: capsules, personas, tools and the default constitution, read from `capsules/library`."""

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any, Self

import yaml

from capsules.capsule import Capsule
from capsules.errors import NotFound
from capsules.names import Reference
from capsules.persona import Persona
from capsules.tool import Tool


@dataclass(frozen=True)
class Library:
    """Everything shipped, parsed and validated."""

    capsules: tuple[Capsule, ...]
    personas: tuple[Persona, ...]
    tools: tuple[Tool, ...]
    constitution: dict[str, Any]

    @classmethod
    def load(cls) -> Self:
        """Read the library. Raises pydantic's ValidationError for a file that is wrong: it is ours to mend."""
        root = files("capsules") / "library"
        return cls(
            capsules=tuple(Capsule.model_validate(d) for d in _documents(root / "capsules")),
            personas=tuple(Persona.model_validate(_flat(d)) for d in _documents(root / "personas")),
            tools=tuple(Tool.model_validate(_flat(d)) for d in _documents(root / "tools")),
            constitution=_document(root / "constitutions" / "default.yaml"),
        )

    def tool(self, reference: Reference) -> Tool:
        """Return the best tool version. Raises NotFound with what is known."""
        return _best(reference, self.tools, "tool")

    def persona(self, reference: Reference) -> Persona:
        """Return the best persona version. Raises NotFound with what is known."""
        return _best(reference, self.personas, "persona")


def _best[T: (Tool, Persona)](reference: Reference, items: tuple[T, ...], what: str) -> T:
    named = {item.version: item for item in items if item.name == reference.name}
    version = reference.best(list(named))
    if version is None:
        known = ", ".join(sorted(f"{i.name}@{i.version}" for i in items)) or "none"
        raise NotFound(f"There is no {what} {str(reference)!r}. Known: {known}.", **{what: str(reference)})
    return named[version]


@cache
def _document(file: Traversable) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
    return document


def _documents(folder: Traversable) -> list[dict[str, Any]]:
    paths = sorted((f for f in folder.iterdir() if f.name.endswith(".yaml")), key=lambda f: f.name)
    return [_document(path) for path in paths]


def _flat(document: dict[str, Any]) -> dict[str, Any]:
    """Return metadata and spec of a persona's or tool's file as one object: our models of these are flat."""
    return {**document["metadata"], **document["spec"]}
