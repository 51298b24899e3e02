"""Which constitution a command is about: a file, the shipped one, the active one, or an installed one by its digest."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from capsules.errors import SomaError
from somagent.capsule_files.document import Document, read
from somagent.capsule_files.library import Library
from somagent.capsule_files.problems import Places
from somagent.cli import output
from somagent.cli.connection import Api, sentences
from somagent.cli.exit_codes import BY_STATUS, Code

DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
SHIPPED, ACTIVE = "default", "active"


@dataclass(frozen=True)
class Source:
    """A document and where each part of it stands, where it came from a file."""

    name: str
    document: dict[str, Any]
    places: Places

    @property
    def kind(self) -> str:
        return str(self.document.get("kind", ""))


def source(text: str, *, principal: str | None, json: bool) -> Source:
    """Return what SOURCE names. A file needs no server. Ends the command when there is no such thing."""
    if text == SHIPPED and not Path(text).exists():
        return Source("the shipped constitution", Library.load().constitution, Places())
    if text == ACTIVE:
        with Api(principal=principal, json=json) as api:
            return Source("the active constitution", api.get("/v1/constitution")["document"], Places())
    if DIGEST.fullmatch(text):
        with Api(principal=principal, json=json) as api:
            found = api.get(f"/v1/constitutions/{text}")["constitution"]
            return Source(text, found["document"], Places())
    return from_file(Path(text), json=json)


def from_file(file: Path, *, json: bool) -> Source:
    """Return the document of a file. Ends the command, with every problem of the syntax, when it does not read."""
    try:
        text = file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        output.fail(f"{str(file)!r} cannot be read: {error}", code=Code.USAGE)
    try:
        found: Document = read(text, filename=file.name)
    except SomaError as error:
        refuse(error, json=json)
    return Source(str(file), found.value, found.places)


@contextmanager
def refusing(*sources: Source, json: bool) -> Iterator[None]:
    """End the command with every fault of a document, each at its place in the file and in its clause."""
    try:
        yield
    except SomaError as error:
        problems = [_placed(problem, sources) for problem in error.fields.get("problems", ())]
        names = " with ".join(one.name for one in sources)
        headline = f"{names} has {len(problems)} problem{'' if len(problems) == 1 else 's'}." if problems else None
        refuse(error, json=json, headline=headline, problems=problems)


def refuse(
    error: SomaError, *, json: bool, headline: str | None = None, problems: Sequence[dict[str, Any]] | None = None
) -> NoReturn:
    """End the command with an error that we found ourselves, told as the API would."""
    listed = list(problems if problems is not None else error.fields.get("problems", ()))
    problem = {"code": error.code, "detail": headline or error.message, "problems": listed}
    if json:
        output.emit({"problem": problem})
    code = Code.INVALID if error.code == "ConstitutionRefused" else BY_STATUS.get(error.status, Code.RUN_FAILED)
    output.fail(sentences(problem), code=code)


def _placed(problem: dict[str, Any], sources: Sequence[Source]) -> dict[str, Any]:
    """Return a problem with the line and column of its value, in the file that has the clause."""
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
    """Return the path in this document: overlays move clauses, so one is found again by its id. None: not here."""
    if path[:1] and path[0] not in document:
        return None
    if clause is None or len(path) < 2 or not isinstance(path[1], int):
        return path
    group = document[str(path[0])]
    if not isinstance(group, list) or (path[1] < len(group) and _id(group[path[1]]) == clause):
        return path
    places = [index for index, one in enumerate(group) if _id(one) == clause]
    return (path[0], places[0], *path[2:]) if places else None


def _id(clause: Any) -> Any:  # noqa: ANN401 - whatever stands in a list of a file
    return clause.get("id") if isinstance(clause, dict) else None
