"""Capsule files: parses YAML or JSON into a document, and validates the document as a model."""

import json
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from pydantic import BaseModel, ValidationError

from capsules.capsule import Capsule
from capsules.errors import TooLarge
from somagent.capsule_files.file_schema import translate
from somagent.capsule_files.jsontext import parse_json
from somagent.capsule_files.problems import MAX_BYTES, FileProblem, ParseResult, Place, Places, refuse, type_name
from somagent.capsule_files.yamltext import parse_yaml


@dataclass(frozen=True)
class Document:
    """A parsed file: its mapping, and the place of each key and value in the text."""

    filename: str
    value: dict[str, Any]
    places: Places


def load(text: str, *, filename: str = "capsule.yaml") -> Capsule:
    """Return the capsule in a text. Raises TooLarge, or Invalid with all problems of its form."""
    return parse(read(text, filename=filename), Capsule)


def read(text: str, *, filename: str) -> Document:
    """Return the document in a text. Raises TooLarge, or Invalid with all problems of syntax."""
    size = len(text.encode("utf-8", errors="surrogatepass"))
    if size > MAX_BYTES:
        raise TooLarge(f"{filename} has {size:,} bytes; a file may have {MAX_BYTES:,}.", limit=MAX_BYTES)
    parsed = parse_json(text) if is_json(text, filename) else parse_yaml(text)
    refuse(filename, parsed.problems)
    if not isinstance(parsed.value, dict):
        refuse(filename, [_not_a_mapping(parsed)])
    return Document(filename=filename, value=parsed.value, places=parsed.places)


def parse[Model: BaseModel](document: Document, model: type[Model]) -> Model:
    """Validate a document as a model, strictly: no conversion of types, one name for a field. Raises Invalid."""
    try:
        # Through JSON: pydantic's strict mode accepts a list for a tuple in JSON only.
        return model.model_validate_json(json.dumps(document.value), strict=True, by_alias=True, by_name=False)
    except ValidationError as error:
        refuse(document.filename, translate(error, document.places))
        raise


def is_json(text: str, filename: str) -> bool:
    """Return whether a text is JSON: by the suffix of the filename, else by its first character."""
    suffix = PurePath(filename).suffix.lower()
    return suffix == ".json" or (suffix not in {".yaml", ".yml"} and text.lstrip().startswith("{"))


def _not_a_mapping(parsed: ParseResult) -> FileProblem:
    place = parsed.places.of_value(()) or Place(1, 1)
    return FileProblem(
        path="",
        line=place.line,
        column=place.column,
        message=f"The file holds {type_name(parsed.value)}.",
        expected="a mapping with `apiVersion`, `kind`, `metadata` and `spec`",
    )
