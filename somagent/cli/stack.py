"""Commands of the local stack: up, down, status, doctor, logs.

The stack's code comes with the extra `embedded`, so it is imported by the commands that need it: the rest of the CLI
works without, as a client of an API elsewhere.
"""

# ruff: noqa: PLC0415 - see above

import asyncio
import signal
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from somagent.cli import output
from somagent.cli.stack_progress import StackProgress
from somagent.settings import Settings

if TYPE_CHECKING:
    from somagent.local_stack.state import StackState

NOT_RUNNING = 3  # exit code of `status`, as init scripts have it

Json = Annotated[bool, typer.Option("--json", help="Write one JSON document instead of text.")]
Only = Annotated[str, typer.Option(help="Start only these parts, by comma, and what they depend on.")]
Foreground = Annotated[bool, typer.Option("--foreground", help="Stay in front and stop with Ctrl-C.")]
PartName = Annotated[str | None, typer.Argument(help="A part's name, or `supervisor`. Without: all.")]
Follow = Annotated[bool, typer.Option("--follow", "-f", help="Go on with what is written from now.")]
Lines = Annotated[int, typer.Option("--lines", "-n", min=0, help="How many last lines of each log.")]


def register(app: typer.Typer) -> None:
    """Add the stack's commands to the CLI."""
    for command in (up, down, status, doctor, logs):
        app.command()(command)


def up(only: Only = "", foreground: Foreground = False, json: Json = False) -> None:
    """Start the local stack and wait until it is ready."""
    from somagent.local_stack.control import follow, running, start, stop
    from somagent.local_stack.errors import StackError
    from somagent.local_stack.stack import parts

    settings, names = Settings(), _names(only)
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
    if json:
        output.emit(change)
    else:
        output.console().print("[green]The stack is ready.[/]  somagent status · somagent logs · somagent down")


def down(json: Json = False) -> None:
    """Stop the local stack: no process and no container stays."""
    from somagent.local_stack.control import stop

    stopped = stop(Settings())
    if json:
        output.emit(
            {"supervisor": stopped.supervisor, "leftovers": list(stopped.leftovers), "containers": stopped.containers}
        )
        return
    console = output.console()
    console.print("The stack is stopped." if stopped.supervisor else "The stack was not running.")
    if stopped.leftovers:
        console.print(f"Ended what a killed supervisor had left: {', '.join(stopped.leftovers)}.")
    if stopped.containers is None:
        console.print("[yellow]No Docker engine answers, so nobody could look for containers.[/]")
    elif stopped.containers:
        console.print(f"Removed {stopped.containers} container(s).")


def status(json: Json = False) -> None:
    """Show each part of the stack. Exit code 0: all ready; 1: some part is not; 3: not running."""
    from somagent.local_stack.control import running

    settings = Settings()
    state = running(settings)
    if state is None:
        if json:
            output.emit({"phase": "down", "parts": []})
            raise typer.Exit(NOT_RUNNING)
        output.fail(f"No stack runs in {str(settings.home.absolute())!r}. Start it: somagent up", code=NOT_RUNNING)
    if json:
        output.emit(state)
    else:
        output.console().print(_table(state))
    if any(part.phase not in {"ready", "done"} for part in state.parts):
        raise typer.Exit(1)


def doctor(json: Json = False) -> None:
    """Check what the stack needs and say how to mend what is wrong. Exit code 1 if anything is."""
    from somagent.local_stack.doctor import examine

    checks = examine(Settings())
    if json:
        output.emit(checks)
    else:
        console = output.console()
        for check in checks:
            mark = "[green]ok  [/]" if check.ok else "[red]BAD [/]"
            console.print(f"{mark} {check.name:<16} {check.detail}", soft_wrap=True)
            if not check.ok:
                console.print(f"      [yellow]{check.fix}[/]", soft_wrap=True)
    if not all(check.ok for check in checks):
        raise typer.Exit(1)


def logs(part: PartName = None, follow: Follow = False, lines: Lines = 50) -> None:
    """Show the logs of a part, or of all."""
    from somagent.local_stack.logs import last_lines, log_file, new_lines
    from somagent.local_stack.stack import NAMES

    home = Settings().home
    known = (*NAMES, "supervisor")
    if part is not None and part not in known:
        output.fail(f"There is no part {part!r}. Known: {', '.join(known)}.", code=2)
    files = {name: log_file(home, name) for name in ([part] if part else known)}
    console = output.console()
    width = max(map(len, files))

    def show(name: str, text: str) -> None:
        prefix = "" if part else f"{name:<{width}} | "
        console.print(f"{prefix}{text}", markup=False, soft_wrap=True)

    for name, file in files.items():
        for text in last_lines(file, lines):
            show(name, text)
    if follow:
        try:
            for name, text in new_lines(files):
                show(name, text)
        except KeyboardInterrupt:
            return


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
    if json:
        output.emit(state)
    else:
        output.console().print("The stack is already running; nothing to do.")


def _names(only: str) -> tuple[str, ...]:
    return tuple(name for name in (word.strip() for word in only.split(",")) if name)


def _table(state: "StackState") -> Table:
    table = Table(box=None, pad_edge=False)
    for column in ("part", "state", "pid", "restarts", "address", ""):
        table.add_column(column)
    colors = {"ready": "green", "done": "green", "failed": "red", "restarting": "yellow", "starting": "yellow"}
    for part in state.parts:
        color = colors.get(part.phase, "default")
        pid = str(part.process.pid) if part.process and part.phase not in {"done", "stopped"} else ""
        table.add_row(part.name, f"[{color}]{part.phase}[/]", pid, str(part.restarts), part.address, part.message)
    return table
