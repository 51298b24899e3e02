"""The project's own files: what architecture tests read. Nothing is imported, so nothing can start."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("activities", "api", "capsules", "policy", "sandbox", "somagent", "workers", "workflows")


def python_files(*folders: str) -> list[Path]:
    """Return the Python files below folders of the project, in order."""
    return sorted(file for folder in folders for file in (ROOT / folder).rglob("*.py"))


def parsed(*folders: str) -> Iterator[tuple[Path, ast.Module]]:
    """Yield each Python file below folders with its tree, which nobody changes."""
    for file in python_files(*folders):
        yield file.relative_to(ROOT), tree_of(file)


@cache
def tree_of(file: Path) -> ast.Module:
    return ast.parse(file.read_text("utf-8"), str(file))


def modules() -> list[str]:
    """Return the dotted name of every module of our packages that can be imported.

    A `__main__` file is a command, and Alembic's scripts are run by Alembic, by path.
    """
    found = []
    for file in python_files(*PACKAGES):
        parts = file.relative_to(ROOT).with_suffix("").parts
        if parts[-1] == "__main__" or ("migrations" in parts and ("versions" in parts or parts[-1] == "env")):
            continue
        found.append(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    return found


def markdown() -> list[Path]:
    """Return the documents: those of the root and those below docs."""
    return sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def dotted(node: ast.AST) -> str:
    """Return `a.b.c` for an attribute chain, and an empty text for anything else."""
    match node:
        case ast.Name():
            return node.id
        case ast.Attribute():
            around = dotted(node.value)
            return f"{around}.{node.attr}" if around else ""
        case _:
            return ""


def at(file: Path, node: ast.expr | ast.stmt) -> str:
    return f"{file}:{node.lineno}"
