"""A run's inputs from the command line: an example, a JSON or YAML file, single fields, files as text."""

import json
from typing import Annotated, Any, NoReturn

import typer
import yaml

from somagent.cli import output
from somagent.cli.exit_codes import Code

InputsOption = Annotated[
    str | None, typer.Option("-i", "--inputs", metavar="FILE", help="Inputs as JSON or YAML; - is standard input.")
]
FieldOption = Annotated[
    list[str] | None,
    typer.Option(
        "-f", "--field", metavar="NAME=VALUE", help="One input: JSON or else text. Use dots for nested fields."
    ),
]
InputFileOption = Annotated[
    list[str] | None, typer.Option("--input-file", metavar="NAME=PATH", help="One input: the text of a file.")
]
ExampleOption = Annotated[bool, typer.Option("--example", help="Use the example inputs of the capsule.")]


def gather(
    *,
    file: str | None,
    fields: list[str] | None,
    files: list[str] | None,
    example: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Merge what was given; the later wins: example, file, fields, files as text."""
    inputs: dict[str, Any] = dict(example or {})
    if file is not None:
        inputs |= _mapping(file)
    for pair in fields or ():
        name, value = _split(pair, option="-f")
        _put(inputs, name, _value(value))
    for pair in files or ():
        name, path = _split(pair, option="--input-file")
        _put(inputs, name, output.read_file(path))
    return inputs


def example_of(capsule: dict[str, Any], reference: str) -> dict[str, Any]:
    """Return the example inputs of a capsule; end the command when it has none."""
    example = capsule["spec"].get("example")
    if not isinstance(example, dict):
        _usage(f"The capsule {reference!r} has no example; give its inputs with -i or -f.")
    return example


def _value(text: str) -> Any:  # noqa: ANN401 - any JSON value
    """Return JSON where the text is JSON, else the text: `3` is a number and `"3"` is not."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _put(inputs: dict[str, Any], name: str, value: Any) -> None:  # noqa: ANN401 - any JSON value
    """Set a field. Dots separate nested fields: `issue.title`."""
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
    text = output.read_file(path)
    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError as error:
        _usage(f"{path!r} is neither JSON nor YAML: {error}")
    if not isinstance(found, dict):
        _usage(f"{path!r} holds no mapping of inputs.")
    return found


def _usage(message: str) -> NoReturn:
    output.fail(message, code=Code.USAGE)
