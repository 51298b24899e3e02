"""Progress of a start of the stack: live bars on a terminal, elsewhere a line for each change."""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Self

from rich.progress import Progress as ProgressBars
from rich.progress import SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from somagent.cli import output

if TYPE_CHECKING:
    from somagent.local_stack.state import PartState

FINAL_PHASES = {"ready", "done", "failed", "stopped"}


class StackProgress:
    """Context manager that shows the states of parts as they change."""

    def __init__(self, *, enabled: bool) -> None:
        self._console = output.console()
        self._enabled = enabled
        self._began = time.monotonic()
        self._bars = ProgressBars(
            SpinnerColumn(finished_text="[green]✓[/]"),
            TextColumn("{task.description:<10}"),
            TextColumn("{task.fields[phase]:<10}"),
            TimeElapsedColumn(),
            TextColumn("[dim]{task.fields[note]}[/]", markup=True),
            console=self._console,
            disable=not enabled or not self._console.is_terminal,
        )
        self._tasks: dict[str, TaskID] = {}
        self._last: dict[str, str] = {}

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def show(self, parts: Sequence["PartState"]) -> None:
        """Show the parts whose phase changed since the last call."""
        for part in parts:
            if self._last.get(part.name) == part.phase:
                continue
            self._last[part.name] = part.phase
            if self._bars.disable:
                self._line(part)
            else:
                self._bar(part)

    def _line(self, part: "PartState") -> None:
        if self._enabled and part.phase != "waiting":
            elapsed, note = time.monotonic() - self._began, part.message or part.address
            line = f"{elapsed:6.1f} s  {part.name:<10} {part.phase:<10} {note}"
            self._console.print(line, markup=False, soft_wrap=True)

    def _bar(self, part: "PartState") -> None:
        task = self._tasks.get(part.name)
        if task is None:
            task = self._bars.add_task(part.name, total=1, start=False, phase=part.phase, note="")
            self._tasks[part.name] = task
        if part.phase == "starting":
            self._bars.start_task(task)
        done = part.phase in FINAL_PHASES
        self._bars.update(task, phase=part.phase, note=part.message or part.address, completed=int(done))
