"""The only place of the CLI that prints: text for people on a console, JSON for programs."""

import json
import sys
from collections.abc import Mapping, Sequence
from typing import NoReturn

import typer
from pydantic import BaseModel
from rich.console import Console

Emitted = BaseModel | Mapping[str, object] | Sequence[BaseModel] | Sequence[Mapping[str, object]]


def console() -> Console:
    """Return the console for results."""
    return Console(highlight=False)


def errors() -> Console:
    """Return the console for errors, on standard error."""
    return Console(stderr=True, highlight=False)


def emit(value: Emitted) -> None:
    """Write one JSON document to standard output."""
    sys.stdout.write(json.dumps(_plain(value), indent=2, ensure_ascii=False) + "\n")


def fail(message: str, *, code: int = 1) -> NoReturn:
    """Say what went wrong on standard error and end with the exit code."""
    errors().print(message, style="red", markup=False, soft_wrap=True)
    raise typer.Exit(code)


def _plain(value: object) -> object:
    match value:
        case BaseModel():
            return value.model_dump(mode="json")
        case Mapping():
            return {str(key): _plain(item) for key, item in value.items()}
        case list() | tuple():
            return [_plain(item) for item in value]
        case _:
            return value
