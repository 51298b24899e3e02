"""Output of the CLI: text for people on a console, JSON for programs. No other module prints.

Lines are in Rich's markup: escape a value that can contain brackets.
"""

import json
import sys
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

import typer
from pydantic import BaseModel
from rich.console import Console, RenderableType
from rich.table import Table

from capsules.actions.verdict import PPM
from capsules.budgets.amounts import Amounts
from somagent.cli.exit_codes import Code

JsonData = BaseModel | Mapping[str, Any] | Sequence[BaseModel] | Sequence[Mapping[str, Any]]
Lines = Iterable[RenderableType]
TextFunction = Callable[[Any], Lines]
"""Returns the lines that a command writes for people about its result."""

COLORS = {
    **dict.fromkeys(("completed", "allow", "allowed", "approved", "active"), "green"),
    **dict.fromkeys(("ready", "done", "proved", "open", "sent"), "green"),
    **dict.fromkeys(("failed", "deny", "denied", "refuted", "refused", "not sent"), "red"),
    **dict.fromkeys(("awaiting_approval", "awaiting_budget", "ask", "asked", "pending"), "magenta"),
    **dict.fromkeys(("cancelled", "paused", "restarting", "starting", "not proved", "revoked"), "yellow"),
    "suspended": "magenta",
    **dict.fromkeys(("running", "edited", "coming"), "cyan"),
    "ended": "dim",
}


def console(*, errors: bool = False) -> Console:
    """Return the console for results, or the one for errors and progress, on standard error."""
    return Console(stderr=errors, highlight=False)


def emit(value: JsonData) -> None:
    """Write one JSON document to standard output."""
    sys.stdout.write(json.dumps(_to_json(value), indent=2, ensure_ascii=False) + "\n")


def show(lines: Lines) -> None:
    """Write lines. Tables are fitted to the width of the console, other lines are not wrapped."""
    target = console()
    for line in lines:
        target.print(line, soft_wrap=not isinstance(line, Table))


def note(text: str) -> None:
    """Write a remark to standard error, so that standard output has only the result."""
    console(errors=True).print(text, style="dim", markup=False, soft_wrap=True)


def fail(message: str, *, code: int = 1) -> NoReturn:
    """Write the reason to standard error and end the command with the exit code."""
    console(errors=True).print(message, style="red", markup=False, soft_wrap=True)
    raise typer.Exit(code)


def read_file(file: Path | str) -> str:
    """Return the text of a file, or of standard input for the text `-`. Ends the command when it cannot be read."""
    try:
        return sys.stdin.read() if file == "-" else Path(file).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        fail(f"{str(file)!r} cannot be read: {error}", code=Code.USAGE)


def require_known(option: str, given: Iterable[str] | None, known: Collection[str]) -> None:
    """End the command when one of an option's values is not known."""
    if unknown := [one for one in given or () if one not in known]:
        fail(f"{option} takes {', '.join(known)}; not {', '.join(unknown)}.", code=Code.USAGE)


def table(*columns: str, row: Callable[[Any], Iterable[str]], none: str | None = None) -> TextFunction:
    """Return the text function of a list: a table with a row for each item, or the sentence `none` for no items."""

    def text(items: Sequence[Any]) -> Lines:
        if none is not None and not items:
            return [none]
        result = Table(box=None, pad_edge=False, header_style="dim")
        for number, column in enumerate(columns):
            result.add_column(column, overflow="fold", no_wrap=number == 0)  # ids, to be copied
        for item in items:
            result.add_row(*row(item))
        return [result]

    return text


def amounts(value: dict[str, Any] | Amounts | None) -> str:
    """Return amounts as text, such as `1,200 tokens · $0.0004 · 2 tool calls`. Amounts of zero are left out."""
    return Amounts.model_validate(value or {}).format(" · ")


def score(ppm: int | None) -> str:
    """Return a score in millionths as a number with three decimals."""
    return "" if ppm is None else f"{ppm / PPM:.3f}"


def color(word: str) -> str:
    """Return a status, decision or outcome in the markup of its color."""
    return f"[{COLORS.get(word, 'default')}]{word}[/]"


def local_time(time: str | datetime | None) -> str:
    """Return a time as text in the time zone of this machine; empty for None."""
    if not time:
        return ""
    at = datetime.fromisoformat(time) if isinstance(time, str) else time
    return at.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def format_demands(demands: Iterable[Mapping[str, Any]], between: str = " and ", link: str = " with ") -> str:
    """Return the demands of an approval as text, such as `2 with approval:decide`."""
    return between.join(f"{demand['quorum']}{link}{demand['capability']}" for demand in demands)


def _to_json(value: object) -> object:
    match value:
        case BaseModel():
            return value.model_dump(mode="json")
        case Mapping():
            return {str(key): _to_json(item) for key, item in value.items()}
        case list() | tuple():
            return [_to_json(item) for item in value]
        case _:
            return value
