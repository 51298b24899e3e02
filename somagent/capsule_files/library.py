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
    """The shipped personas, tools, capsules and the default constitution."""

    personas: tuple[Persona, ...]
    tools: tuple[Tool, ...]
    capsules: tuple[Capsule, ...]
    constitution: dict[str, Any]

    @classmethod
    def load(cls) -> Self:
        """Read the shipped files. Raises Invalid when one has problems."""
        return cls(
            personas=tuple(_parse_entry(document, "Persona", Persona) for document in _documents("personas")),
            tools=tuple(read_tool(file.read_text("utf-8"), filename=file.name) for file in _files("tools")),
            capsules=tuple(load(file.read_text("utf-8"), filename=file.name) for file in _files("capsules")),
            constitution=_documents("constitutions")[0].value,
        )

    def persona(self, reference: Reference) -> Persona:
        """Return the highest version that fits. Raises NotFound with the known ones."""
        return _highest(reference, "persona", {(p.name, p.version): p for p in self.personas})

    def tool(self, reference: Reference) -> Tool:
        """Return the highest version that fits. Raises NotFound with the known ones."""
        return _highest(reference, "tool", {(t.name, t.version): t for t in self.tools})

    def capsule(self, reference: Reference) -> Capsule:
        """Return the highest version that fits. Raises NotFound with the known ones."""
        return _highest(reference, "capsule", {(c.metadata.name, c.metadata.version): c for c in self.capsules})


def read_tool(text: str, *, filename: str, kinds: Collection[str] = TOOL_KINDS) -> Tool:
    """Read a tool file. Raises Invalid when it has problems or no executor runs its kind."""
    document = read(text, filename=filename)
    tool = _parse_entry(document, "Tool", Tool)
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


def _parse_entry[M: BaseModel](document: Document, kind: str, model: type[M]) -> M:
    """Read a persona or tool; its fields are those of `metadata` and of `spec`. Raises Invalid."""
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


def _highest[T](reference: Reference, what: str, items: dict[tuple[str, str], T]) -> T:
    """Return the item of the highest version that fits. `items` are by name and version."""
    version = reference.highest([version for name, version in items if name == reference.name])
    if version is None:
        same_name = [key for key in items if key[0] == reference.name]
        raise NotFound(f"There is no {what} {str(reference)!r}.", known=sorted(map("@".join, same_name or items)))
    return items[reference.name, version]
