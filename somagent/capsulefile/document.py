"""A text, YAML or JSON, becomes a mapping and the place of each of its parts."""

from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from capsules.errors import TooLarge
from somagent.capsulefile.jsontext import parse_json
from somagent.capsulefile.problems import Place, Places, Problem, refuse
from somagent.capsulefile.syntax import MAX_BYTES, Parsed, type_name
from somagent.capsulefile.yamltext import parse_yaml


@dataclass(frozen=True)
class Document:
    """A parsed file."""

    filename: str
    value: dict[str, Any]
    places: Places


def read(text: str, *, filename: str) -> Document:
    """Parse a text. Raises TooLarge, or Invalid with every problem of the syntax."""
    size = len(text.encode("utf-8", errors="surrogatepass"))
    if size > MAX_BYTES:
        raise TooLarge(f"{filename} has {size:,} bytes; a file may have {MAX_BYTES:,}.", limit=MAX_BYTES)
    parsed = parse_json(text) if is_json(text, filename) else parse_yaml(text)
    refuse(filename, parsed.problems)
    if not isinstance(parsed.value, dict):
        refuse(filename, [_not_a_mapping(parsed)])
    return Document(filename=filename, value=parsed.value, places=parsed.places)


def is_json(text: str, filename: str) -> bool:
    """Say how to read a text: by its name, else by how it begins. YAML may begin with a brace too."""
    suffix = PurePath(filename).suffix.lower()
    return suffix == ".json" or (suffix not in {".yaml", ".yml"} and text.lstrip().startswith("{"))


def _not_a_mapping(parsed: Parsed) -> Problem:
    place = parsed.places.of_value(()) or Place(1, 1)
    return Problem(
        path="",
        line=place.line,
        column=place.column,
        message=f"The file holds {type_name(parsed.value)}.",
        expected="a mapping with `apiVersion`, `kind`, `metadata` and `spec`",
    )
