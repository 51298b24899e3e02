"""Commands of the local stack: `somagent up`, `down`, `status`, `doctor` and `logs`.

The local stack needs the extra `embedded`, so only these commands import it. The rest of the CLI works without it, as a
client of an API elsewhere.
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
from typer import Argument, Option

from somagent.cli import output
from somagent.cli.command import JsonOption, group
from somagent.cli.stack_progress import StackProgress
from somagent.settings import Settings

if TYPE_CHECKING:
    from somagent.local_stack.state import PartState, StackState

NOT_RUNNING = 3  # exit code of `status`, as for init scripts
app = group()


@app.command()
def up(
    only: Annotated[
        str, Option(metavar="PARTS", help="Only these parts, comma-separated, and their dependencies.")
    ] = "",
    foreground: Annotated[bool, Option("--foreground", help="Run in the foreground. Ctrl-C stops the stack.")] = False,
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
                _report_running(state, names, json=json)
                return
            supervisor = None
        elif foreground:
            _run_in_foreground(settings, names)
            return
        else:
            parts(settings, only=names)  # raises for a missing program before anything starts
            supervisor = start(settings, only=names)
        with StackProgress(enabled=not json) as progress:
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
        lines.append("[yellow]No Docker engine answers, so containers were not looked for.[/]")
    elif stopped.containers:
        lines.append(f"Removed {stopped.containers} container(s).")
    _show(asdict(stopped), lines, json=json)


@app.command()
def status(json: JsonOption = False) -> None:
    """Show each part of the stack.

    Exit code 0: all parts are ready; 1: a part is not; 3: the stack is not running.
    """
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
    """Check what the stack needs, and say how to repair each problem.

    Exit code 1 if there is a problem.
    """
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
    part: Annotated[str | None, Argument(metavar="PART", help="A part, or `supervisor`. Unset: all parts.")] = None,
    follow: Annotated[bool, Option("--follow", "-f", help="Continue with new lines. Ctrl-C ends.")] = False,
    lines: Annotated[int, Option("--lines", "-n", metavar="N", min=0, help="Number of last lines of each log.")] = 50,
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
    old = ((name, line) for name, file in files.items() for line in last_lines(file, lines))
    lines_of_all = chain(old, new_lines(files) if follow else ())
    with suppress(KeyboardInterrupt):
        output.show(escape(line if part else f"{name:<{width}} | {line}") for name, line in lines_of_all)


def _run_in_foreground(settings: Settings, names: Sequence[str]) -> None:
    from somagent.local_stack.stack import parts
    from somagent.local_stack.supervisor_process import supervise

    with StackProgress(enabled=True) as progress:
        asyncio.run(
            supervise(settings, parts(settings, only=names), on_change=lambda state: progress.show(state.parts))
        )


def _report_running(state: "StackState", wanted: Sequence[str], *, json: bool) -> None:
    running = {part.name for part in state.parts}
    if missing := [name for name in wanted if name not in running]:
        output.fail(
            f"The stack runs without {', '.join(missing)}: run `somagent down` first, then `somagent up` again."
        )
    _show(state, ["The stack is already running; nothing to do."], json=json)


def _row(part: "PartState") -> tuple[str, ...]:
    pid = str(part.process.pid) if part.process and part.phase not in {"done", "stopped"} else ""
    return part.name, output.color(part.phase), pid, str(part.restarts), part.address, part.message


_table = output.table("part", "state", "pid", "restarts", "address", "", row=_row)


def _show(result: output.JsonData, lines: output.Lines, *, json: bool) -> None:
    if json:
        output.emit(result)
    else:
        output.show(lines)
