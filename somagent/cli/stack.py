"""Commands of the local stack: up, down, status, doctor, logs.

The stack's code comes with the extra `embedded`, so it is imported by the commands that need it: the rest of the CLI
works without, as a client of an API elsewhere.
"""

# ruff: noqa: PLC0415 - see above

import asyncio
import signal
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from itertools import chain
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from somagent.cli import output
from somagent.cli.command import JsonOption, group
from somagent.cli.stack_progress import StackProgress
from somagent.settings import Settings

if TYPE_CHECKING:
    from somagent.local_stack.state import PartState, StackState

NOT_RUNNING = 3  # exit code of `status`, as init scripts have it
app = group()


@app.command()
def up(
    only: Annotated[
        str, typer.Option(help="Start only these parts, separated by commas, and those that they depend on.")
    ] = "",
    foreground: Annotated[
        bool, typer.Option("--foreground", help="Run in the foreground; Ctrl-C stops the stack.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Start the local stack and wait until it is ready."""
    from somagent.local_stack.control import follow, running, start, stop
    from somagent.local_stack.errors import StackError
    from somagent.local_stack.stack import parts

    settings, names = Settings(), tuple(name for word in only.split(",") if (name := word.strip()))
    try:
        if state := running(settings):
            if state.phase == "ready":
                _already(state, names, json=json)
                return
            supervisor = None
        elif foreground:
            _in_front(settings, names)
            return
        else:
            parts(settings, only=names)  # what is missing is said before anything starts
            supervisor = start(settings, only=names)
        with StackProgress(shown=not json) as progress:
            for change in follow(settings, supervisor):
                progress.show(change.parts)
    except StackError as error:
        output.fail(str(error))
    except KeyboardInterrupt:
        stop(settings)
        output.fail("Interrupted; the stack is stopped.", code=128 + signal.SIGINT)
    _show(change, ["[green]The stack is ready.[/]  somagent status · somagent logs · somagent down"], json=json)


@app.command()
def down(json: JsonOption = False) -> None:
    """Stop the local stack with all its processes and containers."""
    from somagent.local_stack.control import stop

    stopped = stop(Settings())
    lines = ["The stack is stopped." if stopped.supervisor else "The stack was not running."]
    if stopped.leftovers:
        lines.append(f"Ended what a killed supervisor had left: {', '.join(stopped.leftovers)}.")
    if stopped.containers is None:
        lines.append("[yellow]No Docker engine answers, so nobody could look for containers.[/]")
    elif stopped.containers:
        lines.append(f"Removed {stopped.containers} container(s).")
    _show(asdict(stopped), lines, json=json)


@app.command()
def status(json: JsonOption = False) -> None:
    """Show each part of the stack. Exit code 0: all parts are ready; 1: a part is not; 3: the stack is not running."""
    from somagent.local_stack.control import running

    settings = Settings()
    state = running(settings)
    if state is None:
        if json:
            output.emit({"phase": "down", "parts": []})
            raise typer.Exit(NOT_RUNNING)
        output.fail(f"No stack runs in {str(settings.home.absolute())!r}. Start it: somagent up", code=NOT_RUNNING)
    _show(state, _table(state.parts), json=json)
    if any(part.phase not in {"ready", "done"} for part in state.parts):
        raise typer.Exit(1)


@app.command()
def doctor(json: JsonOption = False) -> None:
    """Check what the stack needs and say how to repair each problem. Exit code 1 if there is one."""
    from somagent.local_stack.doctor import examine

    checks = examine(Settings())
    lines = []
    for check in checks:
        lines.append(f"{'[green]ok  [/]' if check.ok else '[red]BAD [/]'} {check.name:<16} {check.detail}")
        if not check.ok:
            lines.append(f"      [yellow]{check.fix}[/]")
    _show(checks, lines, json=json)
    if not all(check.ok for check in checks):
        raise typer.Exit(1)


@app.command()
def logs(
    part: Annotated[str | None, typer.Argument(help="A part's name, or `supervisor`. Unset: all parts.")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Continue with new lines.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="Number of last lines of each log.")] = 50,
) -> None:
    """Show the logs of one part or of all parts."""
    from somagent.local_stack.logs import last_lines, log_file, new_lines
    from somagent.local_stack.stack import NAMES

    home = Settings().home
    known = (*NAMES, "supervisor")
    if part is not None and part not in known:
        output.fail(f"There is no part {part!r}. Known: {', '.join(known)}.", code=2)
    files = {name: log_file(home, name) for name in ([part] if part else known)}
    width = max(map(len, files))
    written = ((name, text) for name, file in files.items() for text in last_lines(file, lines))
    everything = chain(written, new_lines(files) if follow else ())
    with suppress(KeyboardInterrupt):
        output.show(escape(text if part else f"{name:<{width}} | {text}") for name, text in everything)


def _in_front(settings: Settings, names: Sequence[str]) -> None:
    from somagent.local_stack.stack import parts
    from somagent.local_stack.supervisor_process import supervise

    with StackProgress(shown=True) as progress:
        asyncio.run(supervise(settings, parts(settings, only=names), changed=lambda state: progress.show(state.parts)))


def _already(state: "StackState", wanted: Sequence[str], *, json: bool) -> None:
    running = {part.name for part in state.parts}
    if missing := [name for name in wanted if name not in running]:
        output.fail(
            f"The stack runs without {', '.join(missing)}: run `somagent down` first, then `somagent up` again."
        )
    _show(state, ["The stack is already running; nothing to do."], json=json)


def _row(part: "PartState") -> tuple[str, ...]:
    pid = str(part.process.pid) if part.process and part.phase not in {"done", "stopped"} else ""
    return part.name, output.colored(part.phase), pid, str(part.restarts), part.address, part.message


_table = output.rows("part", "state", "pid", "restarts", "address", "", row=_row)


def _show(result: output.Emitted, lines: output.Lines, *, json: bool) -> None:
    if json:
        output.emit(result)
    else:
        output.show(lines)
