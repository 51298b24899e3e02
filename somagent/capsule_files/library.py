"""Library of shipped files: capsules, personas, tools, examples and the default constitution."""

from collections.abc import Collection
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any, Self

from pydantic import BaseModel

from capsules.capsule import Capsule, Persona
from capsules.errors import Invalid, NotFound
from capsules.names import Reference
from capsules.tools.tool import TOOL_KINDS, Tool
from somagent.capsule_files.document import Document, load, parse, read
from somagent.capsule_files.problems import file_problem, refuse


@dataclass(frozen=True)
class Library:
    """The shipped personas, tools, capsules and default constitution; most are found by reference."""

    personas: tuple[Persona, ...]
    tools: tuple[Tool, ...]
    capsules: tuple[Capsule, ...]
    constitution: dict[str, Any]

    @classmethod
    def load(cls) -> Self:
        """Read the shipped files. Raises Invalid when one has problems."""
        return cls(
            personas=tuple(_entry(document, "Persona", Persona) for document in _documents("personas")),
            tools=tuple(read_tool(file.read_text("utf-8"), filename=file.name) for file in _files("tools")),
            capsules=tuple(load(file.read_text("utf-8"), filename=file.name) for file in _files("capsules")),
            constitution=_documents("constitutions")[0].value,
        )

    def persona(self, reference: Reference) -> Persona:
        """Return the highest version that fits. Raises NotFound with the known ones."""
        by_version = {p.version: p for p in self.personas if p.name == reference.name}
        return by_version[_best(reference, "persona", by_version, [p.ref for p in self.personas])]

    def tool(self, reference: Reference) -> Tool:
        """Return the highest version that fits. Raises NotFound with the known ones."""
        by_version = {t.version: t for t in self.tools if t.name == reference.name}
        return by_version[_best(reference, "tool", by_version, [f"{t.name}@{t.version}" for t in self.tools])]

    def capsule(self, reference: Reference) -> Capsule:
        """Return the highest version that fits. Raises NotFound with the known ones."""
        by_version = {c.metadata.version: c for c in self.capsules if c.metadata.name == reference.name}
        return by_version[_best(reference, "capsule", by_version, [c.ref for c in self.capsules])]

    def ordered(self) -> tuple[Capsule, ...]:
        """Return the capsules in the order in which they can be published: composites after their tasks' capsules."""
        return tuple(sorted(self.capsules, key=lambda capsule: (capsule.spec.type == "composite", capsule.ref)))


def read_tool(text: str, *, filename: str, kinds: Collection[str] = TOOL_KINDS) -> Tool:
    """Read a tool file. Raises Invalid when it has problems, or its kind has no executor."""
    document = read(text, filename=filename)
    tool = _entry(document, "Tool", Tool)
    if tool.kind not in kinds:
        message = f"Tools of kind {tool.kind!r} have no executor. Known: {', '.join(sorted(kinds))}."
        refuse(filename, [file_problem(document.places, ("spec", "kind"), message, expected="a known kind")])
    return tool


def example(name: str) -> Traversable:
    """Return an example file, such as `postgresql.log`. Raises NotFound with the names that exist."""
    found = {file.name: file for file in _folder("examples").iterdir()}
    if name not in found:
        raise NotFound(f"There is no example {name!r}. Known: {', '.join(sorted(found))}.", known=sorted(found))
    return found[name]


def _entry[M: BaseModel](document: Document, kind: str, model: type[M]) -> M:
    """Read a persona or tool, whose fields are those of `metadata` and `spec` together. Raises Invalid."""
    value = document.value
    if value.get("apiVersion") != "somagent/v1" or value.get("kind") != kind:
        raise Invalid(f"{document.filename} is not a {kind} of somagent/v1: it says {value.get('kind')!r}.")
    flat = Document(document.filename, {**value.get("metadata", {}), **value.get("spec", {})}, document.places)
    return parse(flat, model)


def _documents(folder: str) -> list[Document]:
    return [read(file.read_text("utf-8"), filename=file.name) for file in _files(folder)]


def _files(folder: str) -> list[Traversable]:
    return sorted((f for f in _folder(folder).iterdir() if f.name.endswith(".yaml")), key=lambda file: file.name)


def _folder(name: str) -> Traversable:
    return files("capsules").joinpath("library", name)


def _best(reference: Reference, what: str, by_version: dict[str, Any], all_known: list[str]) -> str:
    version = reference.best(list(by_version))
    if version is None:
        known = [f"{reference.name}@{v}" for v in sorted(by_version)] or sorted(all_known)
        raise NotFound(f"There is no {what} {str(reference)!r}.", known=known)
    return version
