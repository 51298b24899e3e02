"""Sources of constitutions: a file, the shipped one, the active one, or an installed one by its digest."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from typer import Option

from capsules.errors import SomaError
from somagent.capsule_files.document import read
from somagent.capsule_files.library import Library
from somagent.capsule_files.problems import Places
from somagent.cli import output
from somagent.cli.connection import Api

DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
SHIPPED, ACTIVE = "default", "active"
WHICH = f"A file, `{SHIPPED}` (shipped), `{ACTIVE}` (in force) or a digest."
OverlayOption = Annotated[list[Path] | None, Option("--overlay", metavar="FILE", help="Overlay to apply. Repeatable.")]


@dataclass(frozen=True)
class Source:
    """A document, and the places of its parts if it came from a file."""

    name: str
    document: dict[str, Any]
    places: Places

    @property
    def kind(self) -> str:
        return str(self.document.get("kind", ""))


def source(text: str, api: Api) -> Source:
    """Return the constitution that `text` names. A file needs no server. Ends the command when there is none.

    Raises Invalid with every syntax error of a file.
    """
    if text == SHIPPED and not Path(text).exists():
        return Source("the shipped constitution", Library.load().constitution, Places())
    if text == ACTIVE:
        return Source("the active constitution", api.get("/v1/constitution")["document"], Places())
    if DIGEST.fullmatch(text):
        return Source(text, api.get(f"/v1/constitutions/{text}")["constitution"]["document"], Places())
    return from_file(Path(text))


def from_file(file: Path) -> Source:
    """Return the document of a file. Ends the command when it cannot be read. Raises Invalid for syntax errors."""
    found = read(output.read_file(file), filename=file.name)
    return Source(str(file), found.value, found.places)


@contextmanager
def placed_problems(*sources: Source) -> Iterator[None]:
    """Add to the problems of a SomaError their clause, line and column, and to its message the names of the sources."""
    try:
        yield
    except SomaError as error:
        if problems := [_placed(problem, sources) for problem in error.fields.get("problems", ())]:
            names = " with ".join(one.name for one in sources)
            error.message = f"{names} has {len(problems)} problem{'' if len(problems) == 1 else 's'}."
            error.fields["problems"] = problems
        raise


def _placed(problem: dict[str, Any], sources: Sequence[Source]) -> dict[str, Any]:
    """Return a problem with the line and column of its value in the source that has the clause."""
    path = tuple(int(part) if part.isdigit() else part for part in re.findall(r"[^.\[\]]+", problem["path"]))
    for one in reversed(sources):
        here = _path_in(one.document, path, problem.get("clause"))
        place = one.places.of_value(here) if here is not None else None
        if place is not None:
            problem = {**problem, "line": place.line, "column": place.column}
            break
    clause = f"clause {problem['clause']!r}, " if "clause" in problem else ""
    return {**problem, "path": f"{clause}{problem['path']}"}


def _path_in(document: dict[str, Any], path: tuple[str | int, ...], clause: str | None) -> tuple[str | int, ...] | None:
    """Return the path in this document, or None. Overlays move clauses, so a clause is looked up by its id."""
    if path[:1] and path[0] not in document:
        return None
    if clause is None or len(path) < 2 or not isinstance(path[1], int):
        return path
    group = document[str(path[0])]
    if not isinstance(group, list) or (path[1] < len(group) and _id(group[path[1]]) == clause):
        return path
    places = [index for index, one in enumerate(group) if _id(one) == clause]
    return (path[0], places[0], *path[2:]) if places else None


def _id(clause: Any) -> Any:  # noqa: ANN401 - any value of a file
    return clause.get("id") if isinstance(clause, dict) else None
