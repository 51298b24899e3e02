"""Inputs from the command line: an example, a JSON or YAML file, single fields, files as text."""

import json
from typing import Annotated, Any, NoReturn

import yaml
from typer import Option

from somagent.cli import output
from somagent.cli.connection import Api
from somagent.cli.exit_codes import Code

InputsOption = Annotated[
    str | None, Option("-i", "--inputs", metavar="FILE", help="File of inputs, JSON or YAML; `-` is standard input.")
]
FieldOption = Annotated[
    list[str] | None,
    Option(
        "-f", "--field", metavar="NAME=VALUE", help="A value: JSON if it is valid JSON, else text. NAME may have dots."
    ),
]
InputFileOption = Annotated[
    list[str] | None, Option("--input-file", metavar="NAME=PATH", help="A value: a file's text.")
]
ExampleOption = Annotated[bool, Option("--example", help="Use the example inputs of the capsule.")]


def gather(
    *, file: str | None, fields: list[str] | None, files: list[str] | None, example: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Return the inputs: those of the example, replaced by those of the file, the fields and the files as text."""
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


def capsule_and_inputs(  # noqa: PLR0913 - the command line's own options
    api: Api, capsule: str, *, example: bool, file: str | None, fields: list[str] | None, files: list[str] | None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a published capsule, and the inputs for it, which begin with its example when `example` is set."""
    published = api.get(f"/v1/capsules/{capsule}")["capsule"]
    begin = published["spec"].get("example") if example else {}
    if not isinstance(begin, dict):
        _usage(f"The capsule {capsule!r} has no example; give its inputs with -i or -f.")
    return published, gather(example=begin, file=file, fields=fields, files=files)


def _value(text: str) -> Any:  # noqa: ANN401 - any JSON value
    """Return the value of valid JSON, else the text itself: `3` is a number, `"3"` is text."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _put(inputs: dict[str, Any], name: str, value: Any) -> None:  # noqa: ANN401 - any JSON value
    """Set a field. Dots separate nested fields: `issue.title`."""
    *parents, last = name.split(".")
    for part in parents:
        inner = inputs.setdefault(part, {})
        if not isinstance(inner, dict):
            _usage(f"{name!r} leads into {part!r}, which is not a mapping.")
        inputs = inner
    inputs[last] = value


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
