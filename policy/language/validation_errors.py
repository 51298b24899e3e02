"""Validation errors of a document: path, clause and message of each."""

from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from capsules.errors import ConstitutionRefused, DocumentPath, path_text


def validation_errors_of(error: ValidationError, document: Any) -> list[dict[str, Any]]:  # noqa: ANN401 - what was to be read
    """Return a validation error for each of pydantic's errors."""
    return [
        validation_error(tuple(one["loc"]), _words(one), clause=_clause(document, one["loc"])) for one in error.errors()
    ]


def validation_error(path: DocumentPath, message: str, *, clause: str = "") -> dict[str, Any]:
    """Return one validation error: the path as text (`articles[0].forbid`), the clause if there is one, the message."""
    return {"path": path_text(path), **({"clause": clause} if clause else {}), "message": message}


def constitution_error(what: str, errors: Sequence[dict[str, Any]]) -> ConstitutionRefused:
    """Return ConstitutionRefused with every validation error and its clause."""
    return ConstitutionRefused(f"{what}: {' '.join(map(_sentence, errors))}", problems=list(errors))


def _sentence(one: dict[str, Any]) -> str:
    place = one["path"].rpartition(".")[2]
    where = f"clause {one['clause']!r}, {place}" if "clause" in one else one["path"] or "the document"
    return f"{where}: {one['message'].rstrip('.')}."


def _words(error: Any) -> str:  # noqa: ANN401 - pydantic's own shape
    own = error.get("ctx", {}).get("error")
    return str(own if own is not None else error["msg"])


def _clause(document: Any, path: Sequence[str | int]) -> str:  # noqa: ANN401
    """Return the id of the innermost clause around a place."""
    found, here = "", document
    for part in path:
        try:
            here = here[part]
        except (KeyError, IndexError, TypeError):
            break
        if isinstance(part, int) and isinstance(here, dict):
            found = str(here.get("id") or here.get("name") or found)
    return found
