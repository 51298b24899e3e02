"""Progress of the parts of the stack at a start: live lines on a terminal, a line for each change elsewhere."""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Self

from rich.progress import Progress as Bars
from rich.progress import SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from somagent.cli import output

if TYPE_CHECKING:
    from somagent.local_stack.state import PartState

SETTLED = {"ready", "done", "failed", "stopped"}


class StackProgress:
    """A context in which the states of parts are shown as they change."""

    def __init__(self, *, shown: bool) -> None:
        self._console = output.console()
        self._shown = shown
        self._began = time.monotonic()
        self._bars = Bars(
            SpinnerColumn(finished_text="[green]✓[/]"),
            TextColumn("{task.description:<10}"),
            TextColumn("{task.fields[phase]:<10}"),
            TimeElapsedColumn(),
            TextColumn("[dim]{task.fields[note]}[/]", markup=True),
            console=self._console,
            disable=not shown or not self._console.is_terminal,
        )
        self._tasks: dict[str, TaskID] = {}
        self._last: dict[str, str] = {}

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def show(self, parts: Sequence["PartState"]) -> None:
        """Show what changed."""
        for part in parts:
            if self._last.get(part.name) == part.phase:
                continue
            self._last[part.name] = part.phase
            if self._bars.disable:
                self._line(part)
            else:
                self._bar(part)

    def _line(self, part: "PartState") -> None:
        if self._shown and part.phase != "waiting":
            elapsed = time.monotonic() - self._began
            note = part.message or part.address
            self._console.print(
                f"{elapsed:6.1f} s  {part.name:<10} {part.phase:<10} {note}", markup=False, soft_wrap=True
            )

    def _bar(self, part: "PartState") -> None:
        task = self._tasks.get(part.name)
        if task is None:
            task = self._bars.add_task(part.name, total=1, start=False, phase=part.phase, note="")
            self._tasks[part.name] = task
        if part.phase == "starting":
            self._bars.start_task(task)
        done = part.phase in SETTLED
        self._bars.update(task, phase=part.phase, note=part.message or part.address, completed=1 if done else 0)
