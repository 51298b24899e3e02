"""Commands `somagent runs`: list, show, watch and control runs."""

import json as json_format
import sys
from typing import Annotated, Any

import typer
from rich.json import JSON
from rich.markup import escape
from typer import Argument, Option

from capsules.runs.url import run_path
from somagent.cli import output
from somagent.cli.command import KeyOption, LimitOption, ReasonOption, RunArgument, command, group
from somagent.cli.connection import Api, JsonValue
from somagent.cli.exit_codes import Code
from somagent.cli.output import Lines, amounts, color, local_time, table
from somagent.cli.run import read_events, watch
from somagent.cli.run_progress import RunProgress
from somagent.cli.run_stream import RunEvent, follow_one

app = group("runs", "List, show, watch and control runs.")


def _row(run: dict[str, Any]) -> tuple[str, ...]:
    return run["id"], color(run["status"]), str(run["step"]), amounts(run["spent"]), local_time(run["created_at"])


def _lines(record: dict[str, Any]) -> Lines:
    yield f"[bold]{record['id']}[/]  {record['capsule']}  by {record['actor']}"
    yield f"{color(record['status'])}  step {record['step']}  spent {amounts(record['spent'])}"
    if record["reason"]:
        yield escape(record["reason"])
    yield f"started {local_time(record['created_at'])}  ended {local_time(record['closed_at']) or 'not yet'}"
    if record["output"] is not None:
        yield JSON.from_data(record["output"])


def _control_lines(view: dict[str, Any]) -> Lines:
    left = f"  left {amounts(view['left'])}" if view.get("left") else ""
    steps = f"step {view['step']} of {view['max_steps']}"
    yield f"{color(view['status'])}  {steps}  spent {amounts(view['spent'])}{left}"


@command(app, "list", text=table("run", "status", "step", "spent", "started", row=_row))
def list_runs(
    api: Api,
    status: Annotated[str | None, Option(help="Only runs in this status.")] = None,
    capsule: Annotated[str | None, Option(help="Only runs of this capsule.")] = None,
    limit: LimitOption = 20,
) -> JsonValue:
    """List runs, newest first."""
    return api.list_items("/v1/runs", most=limit, status=status, capsule=capsule)


@command(app, text=_lines)
def show(api: Api, run: RunArgument) -> JsonValue:
    """Show a run: its status, its spending, its deliverable."""
    return api.get(run_path(run))


@command(app, "watch")
def watch_run(api: Api, run: RunArgument) -> None:
    """Follow a run to its end, then print its deliverable."""
    record = api.get(run_path(run))
    watch(api, run, api.get(f"/v1/capsules/{record['capsule']}")["capsule"])


@command(app)
def events(
    api: Api,
    run: RunArgument,
    follow: Annotated[bool, Option("--follow", help="Continue until the run is closed.")] = False,
) -> None:
    """Show a run's events. With --json: one JSON document a line."""
    record = api.get(run_path(run))
    if record["closed_at"] is None and not follow:
        output.fail(f"The run is {record['status']}; --follow shows its events to the end.", code=Code.USAGE)
    progress = RunProgress(output.console(), run)

    def handle(event: RunEvent) -> bool:
        if api.json:
            line = {"run": event.run, "type": event.type, "at": event.at, "data": event.data}
            sys.stdout.write(json_format.dumps(line, ensure_ascii=False) + "\n")
            sys.stdout.flush()
        else:
            progress.show(event)
        return False

    try:
        read_events(api, lambda client: follow_one(client, run), handle)
    except KeyboardInterrupt:
        raise typer.Exit(Code.INTERRUPTED) from None


@command(app, text=_control_lines)
def cancel(api: Api, run: RunArgument, reason: ReasonOption = "") -> JsonValue:
    """Cancel a run. Its container stops, and what is left of its budget returns."""
    return api.post(run_path(run, "cancel"), {"reason": reason})


@command(app, text=_control_lines)
def pause(api: Api, run: RunArgument, reason: ReasonOption = "") -> JsonValue:
    """Pause a run. The current action ends and no other one begins."""
    return api.post(run_path(run, "pause"), {"reason": reason})


@command(app, text=_control_lines)
def resume(api: Api, run: RunArgument, reason: ReasonOption = "") -> JsonValue:
    """Resume a paused run."""
    return api.post(run_path(run, "resume"), {"reason": reason})


@command(app, text=_control_lines)
def message(
    api: Api,
    run: RunArgument,
    text: Annotated[str, Argument(metavar="TEXT", help="Message. The persona reads it before its next model call.")],
    key: KeyOption = None,
) -> JsonValue:
    """Send a message to the persona of a run."""
    return api.post(run_path(run, "messages"), {"text": text, "id": key})
