"""Live progress of a run on a console: a line for each event, and the pieces of a reply as they arrive."""

from typing import Any

from rich.console import Console
from rich.markup import escape

from somagent.cli.output import amounts, color, score
from somagent.cli.run_stream import RunEvent

ACTION_WIDTH = 42


class RunProgress:
    """Writes the events of one run and its child runs."""

    def __init__(self, console: Console, run: str) -> None:
        self._console = console
        self._run = run
        self._writing = ""

    def show(self, event: RunEvent) -> None:
        """Write one event, if its type has a line."""
        if event.type == "token":
            self._write_piece(event)
        elif line := _line(event):
            if self._writing:
                self._console.print()
                self._writing = ""
            child = event.run.removeprefix(self._run).strip("/")
            self._console.print(f"{f'[blue]{escape(child):<9}[/] ' if child else ''}{line}", soft_wrap=True)

    def _write_piece(self, event: RunEvent) -> None:
        # Child runs reply at the same time: only the pieces of one run are shown, and only on a terminal.
        if self._console.is_terminal and self._writing in {"", event.run}:
            self._writing = event.run
            self._console.print(str(event.data.get("text", "")), style="dim", end="", markup=False, highlight=False)


def _line(event: RunEvent) -> str:  # noqa: C901, PLR0911 - a form for each type
    """Return the line of an event; empty for a type without one."""
    data = event.data
    by = escape(str(data.get("by")))
    reason = f"  {escape(data['reason'])}" if data.get("reason") else ""
    match event.type:
        case "run.changed":
            step = f"  step {data['step']}" if data.get("step") else ""
            return f"{color(data['status'])}{step}{reason}"
        case "run.closed":
            return f"{color(data['status'])}  spent {amounts(data.get('spent'))}{reason}"
        case "action.decided":
            return _decision(data)
        case "action.finished":
            return _outcome(data)
        case "approval.requested":
            return f"[magenta]waits[/] for a person: somagent approve {data['approval']} --as approver"
        case "approval.decided":
            return f"{color(data['state'])}  by {by}  {escape(data.get('comment', ''))}".rstrip()
        case "approval.edited":
            return f"{color('edited')}  by {by}: other arguments, evaluated again"
        case "approval.escalated":
            return f"[magenta]waits[/] also for people with {escape(str(data.get('capability')))}"
        case "approval.expired":
            return f"[red]expired[/]  nobody decided; asked: {escape(str(data.get('asked')))}"
        case "budget.raised":
            return f"[green]raised[/] by {amounts(data.get('amounts'))}"
        case "budget.pressure":
            spent = f"{data['spent']:,} of {data['limit']:,}"
            style = "red" if data["percent"] >= 100 else "yellow"
            return f"[{style}]budget[/]  {data['percent']} % of {data['dimension']} spent: {spent}"
    return ""


def _decision(data: dict[str, Any]) -> str:
    text = f"  {color(data['decision'])}  {_action(data):<{ACTION_WIDTH}} score {score(data.get('score'))}"
    why = "" if data["decision"] == "allow" else f"  {escape(str(data.get('sentence') or data.get('reason')))}"
    return text + why


def _outcome(data: dict[str, Any]) -> str:
    mark = "[green]done[/] " if data.get("ok") else "[red]failed[/]"
    error = "" if data.get("ok") else f"  {escape(str(data.get('error', ''))[:300])}"
    # A start pays nothing: the run's account exists only after it.
    left = f", left {amounts(data['left'])}" if data.get("left") else ""
    return f"  {mark}  {_action(data):<{ACTION_WIDTH}} used {amounts(data.get('usage'))}{left}{error}"


def _action(data: dict[str, Any]) -> str:
    return escape(f"{data.get('kind', '')} {data.get('target', '')}".strip())
