"""Live progress of a run on a console: a line for each thing that happened, replies as they are written."""

from collections.abc import Callable

from rich.console import Console
from rich.markup import escape

from somagent.cli.formatting import amounts, colored, score
from somagent.cli.run_stream import RunEvent

WIDE = 42


class RunProgress:
    """Writes what is told about one run and its children."""

    def __init__(self, console: Console, run: str) -> None:
        self._console = console
        self._run = run
        self._writing = ""

    def show(self, told: RunEvent) -> None:
        """Write one event."""
        if told.type == "token":
            self._token(told)
            return
        line = self._line(told)
        if line:
            self._end_reply()
            child = told.run.removeprefix(self._run).strip("/")
            self._console.print(f"{f'[blue]{escape(child):<9}[/] ' if child else ''}{line}", soft_wrap=True)

    def _token(self, told: RunEvent) -> None:
        # Several children write at once: only a terminal with one writer shows the pieces.
        if not self._console.is_terminal or self._writing not in {"", told.run}:
            return
        self._writing = told.run
        self._console.print(str(told.data.get("text", "")), style="dim", end="", markup=False, highlight=False)

    def _end_reply(self) -> None:
        if self._writing:
            self._console.print()
            self._writing = ""

    def _line(self, told: RunEvent) -> str:
        write = _LINES.get(told.type)
        return write(told) if write else ""


def _changed(told: RunEvent) -> str:
    step = f"  step {told.data['step']}" if told.data.get("step") else ""
    return f"{colored(told.data['status'])}{step}{_reason(told)}"


def _closed(told: RunEvent) -> str:
    return f"{colored(told.data['status'])}  spent {amounts(told.data.get('spent'))}{_reason(told)}"


def _requested(told: RunEvent) -> str:
    return f"[magenta]waits[/] for a person: somagent approve {told.data['approval']} --as approver"


def _answered(told: RunEvent) -> str:
    comment = escape(told.data.get("comment", ""))
    return f"{colored(told.data['state'])}  by {escape(str(told.data.get('by')))}  {comment}".rstrip()


def _edited(told: RunEvent) -> str:
    return f"{colored('edited')}  by {escape(str(told.data.get('by')))}: other arguments, judged anew"


def _escalated(told: RunEvent) -> str:
    return f"[magenta]waits[/] also for people with {escape(str(told.data.get('capability')))}"


def _expired(told: RunEvent) -> str:
    return f"[red]expired[/]  nobody decided; asked: {escape(str(told.data.get('asked')))}"


def _raised(told: RunEvent) -> str:
    return f"[green]raised[/] by {amounts(told.data.get('amounts'))}"


def _reason(told: RunEvent) -> str:
    return f"  {escape(told.data['reason'])}" if told.data.get("reason") else ""


def _decided(told: RunEvent) -> str:
    data = told.data
    decision = str(data["decision"])
    text = f"  {colored(decision)}  {_what(told):<{WIDE}} score {score(data.get('score'))}"
    return text if decision == "allow" else f"{text}  {escape(str(data.get('sentence') or data.get('reason')))}"


def _finished(told: RunEvent) -> str:
    data = told.data
    mark = "[green]done[/] " if data.get("ok") else "[red]failed[/]"
    error = "" if data.get("ok") else f"  {escape(str(data.get('error', ''))[:300])}"
    used, left = amounts(data.get("usage")), amounts(data.get("left"))
    return f"  {mark}  {_what(told):<{WIDE}} used {used}, left {left}{error}"


def _what(told: RunEvent) -> str:
    return escape(f"{told.data.get('kind', '')} {told.data.get('target', '')}".strip())


def _pressed(told: RunEvent) -> str:
    data = told.data
    color = "red" if data["percent"] >= 100 else "yellow"
    return (
        f"[{color}]budget[/]  {data['percent']} % of {data['dimension']} spent: {data['spent']:,} of {data['limit']:,}"
    )


_LINES: dict[str, Callable[[RunEvent], str]] = {
    "run.changed": _changed,
    "run.closed": _closed,
    "action.decided": _decided,
    "action.finished": _finished,
    "approval.requested": _requested,
    "approval.decided": _answered,
    "approval.edited": _edited,
    "approval.escalated": _escalated,
    "approval.expired": _expired,
    "budget.raised": _raised,
    "budget.pressure": _pressed,
}
