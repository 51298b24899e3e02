"""A run's inputs from the command line: an example, a JSON or YAML file, single fields, files as text."""

import json
import sys
from pathlib import Path
from typing import Any, NoReturn

import yaml

from somagent.cli import output
from somagent.cli.exit_codes import Code


def gather(*, example: dict[str, Any] | None, file: str | None, fields: list[str], files: list[str]) -> dict[str, Any]:
    """Merge what was given; the later wins: example, file, fields, files as text."""
    inputs: dict[str, Any] = dict(example or {})
    if file is not None:
        inputs |= _mapping(file)
    for pair in fields:
        name, value = _split(pair, option="-f")
        _put(inputs, name, _value(value))
    for pair in files:
        name, path = _split(pair, option="--input-file")
        _put(inputs, name, _text(path))
    return inputs


def _value(text: str) -> Any:  # noqa: ANN401 - any JSON value
    """Return JSON where the text is JSON, else the text: `3` is a number and `"3"` is not."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _put(inputs: dict[str, Any], name: str, value: Any) -> None:  # noqa: ANN401 - any JSON value
    """Set a field; dots lead inside: `issue.title`."""
    *around, last = name.split(".")
    where = inputs
    for part in around:
        inner = where.setdefault(part, {})
        if not isinstance(inner, dict):
            _usage(f"{name!r} leads into {part!r}, which is not a mapping.")
        where = inner
    where[last] = value


def _split(pair: str, *, option: str) -> tuple[str, str]:
    name, equals, value = pair.partition("=")
    if not name or not equals:
        _usage(f"{option} {pair!r} is not `name=value`.")
    return name, value


def _mapping(path: str) -> dict[str, Any]:
    text = _text(path)
    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError as error:
        _usage(f"{path!r} is neither JSON nor YAML: {error}")
    if not isinstance(found, dict):
        _usage(f"{path!r} holds no mapping of inputs.")
    return found


def _text(path: str) -> str:
    try:
        return sys.stdin.read() if path == "-" else Path(path).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        _usage(f"{path!r} cannot be read: {error}")


def _usage(message: str) -> NoReturn:
    output.fail(message, code=Code.USAGE)
