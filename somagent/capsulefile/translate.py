"""Pydantic's errors in plain words, at the line of the file."""

import difflib
from collections.abc import Callable, Iterable
from typing import Any

from pydantic import ValidationError

from capsules.names import Identifier, Name, Version
from somagent.capsulefile.problems import Path, Places, Problem, problem
from somagent.capsulefile.shape import describe_at, fields_at
from somagent.capsulefile.syntax import type_name

type Context = dict[str, Any]

# The pattern is how pydantic names a kind of text; people want the kind.
_KINDS: tuple[tuple[Any, str], ...] = (
    (Name, "lower-case words joined by hyphens, such as `log-triage`"),
    (Identifier, "a lower-case name with underscores, such as `parse_log`"),
    (Version, "a version of three numbers, such as `1.4.0`"),
)
_PATTERNS = {kind.__metadata__[0].pattern: words for kind, words in _KINDS} | {
    r"^[a-z][a-z0-9-]*/[a-z][a-z0-9_]*$": "tool and action, such as `python/run`"
}

_WANTED: dict[str, Callable[[Context], str]] = {
    "string_type": lambda _: "text; put numbers and such in quotes",
    "int_type": lambda _: "a whole number",
    "int_from_float": lambda _: "a whole number",
    "float_type": lambda _: "a number",
    "bool_type": lambda _: "true or false",
    "dict_type": lambda _: "a mapping",
    "model_type": lambda _: "a mapping",
    "model_attributes_type": lambda _: "a mapping",
    "tuple_type": lambda _: "a list",
    "list_type": lambda _: "a list",
    "literal_error": lambda c: f"one of {str(c.get('expected', '')).replace(' or ', ', ')}",
    "string_pattern_mismatch": lambda c: _PATTERNS.get(c.get("pattern"), f"text that matches {c.get('pattern')}"),
    "greater_than_equal": lambda c: f"at least {_number(c['ge'])}",
    "greater_than": lambda c: f"more than {_number(c['gt'])}",
    "less_than_equal": lambda c: f"at most {_number(c['le'])}",
    "less_than": lambda c: f"less than {_number(c['lt'])}",
    "string_too_short": lambda c: f"at least {_count(c['min_length'], 'character')}",
    "string_too_long": lambda c: f"at most {_count(c['max_length'], 'character')}",
    "too_short": lambda c: f"at least {_count(c['min_length'], 'item')}",
    "too_long": lambda c: f"at most {_count(c['max_length'], 'item')}",
}


def translate(error: ValidationError, places: Places) -> tuple[Problem, ...]:
    """Return a problem for each of pydantic's errors."""
    return tuple(_one(entry, places) for entry in error.errors(include_url=False))


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return ` Did you mean …?` for a near miss, else nothing."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f" Did you mean `{near[0]}`?" if near else ""


def _one(entry: Any, places: Places) -> Problem:  # noqa: ANN401 - pydantic's own shape
    path: Path = tuple(entry["loc"])
    given, context, kind = entry["input"], entry.get("ctx", {}), entry["type"]
    match kind:
        case "missing":
            return problem(places, path, f"`{path[-1]}` is missing.", expected=_what(path))
        case "extra_forbidden":
            return _unknown(path, places)
        case "value_error":
            return _own_words(path, places, str(context["error"]), given)
        case _:
            wanted = _WANTED[kind](context) if kind in _WANTED else entry["msg"]
            return problem(places, path, f"{_shown(given)} does not fit here.", expected=wanted)


def _unknown(path: Path, places: Places) -> Problem:
    known = fields_at(path[:-1])
    message = f"`{path[-1]}` is not a field.{suggestion(str(path[-1]), known)}"
    return problem(places, path, message, expected=f"one of {', '.join(known)}" if known else "", key=True)


def _own_words(path: Path, places: Places, words: str, given: object) -> Problem:
    """Our validators write `what is wrong; expected what is right`, or a whole rule."""
    wrong, _, right = words.partition("; expected ")
    if not right:
        return problem(places, path, f"{_shown(given)} does not fit here.", expected=wrong)
    return problem(places, path, f"{wrong}.", expected=right)


def _what(path: Path) -> str:
    inside = fields_at(path)
    if inside:
        return f"a mapping with {', '.join(f'`{name}`' for name in inside)}"
    return describe_at(path).partition(". ")[0].removesuffix(".") or "a value"


def _shown(value: object) -> str:
    match value:
        case str() if len(value) > 60:
            return f"{value[:57]!r}…"
        case str() | bool() | int() | float():
            return str(value).lower() if isinstance(value, bool) else repr(value)
        case _:
            return type_name(value).capitalize()


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
