"""`somagent runs`: list, show, watch and steer runs."""

import asyncio
import json as json_format
import sys
from typing import Annotated, Any

import httpx
import typer

from somagent.cli import output
from somagent.cli.connection import Api, run_path
from somagent.cli.exit_codes import Code
from somagent.cli.formatting import amounts, clock, colored, table
from somagent.cli.options import As, Json, Key, Limit, Reason, RunId
from somagent.cli.progress import RunProgress
from somagent.cli.run import tasks_of, watch
from somagent.cli.run_stream import Lost, follow_one

app = typer.Typer(no_args_is_help=True, help="List, show, watch and steer runs.")
Status = Annotated[str | None, typer.Option("--status", help="Only runs in this status.")]
OfCapsule = Annotated[str | None, typer.Option("--capsule", help="Only runs of this capsule.")]


def register(to: typer.Typer) -> None:
    to.add_typer(app, name="runs")


@app.command("list")
def list_runs(
    status: Status = None, capsule: OfCapsule = None, limit: Limit = 20, principal: As = None, json: Json = False
) -> None:
    """List runs, newest first."""
    with Api(principal=principal, json=json) as api:
        items = api.all("/v1/runs", most=limit, status=status, capsule=capsule)
    if json:
        output.emit(items)
        return
    shown = table("run", "status", "step", "spent", "started")
    for run in items:
        shown.add_row(
            run["id"], colored(run["status"]), str(run["step"]), amounts(run["spent"]), clock(run["created_at"])
        )
    output.console().print(shown)


@app.command()
def show(run: RunId, principal: As = None, json: Json = False) -> None:
    """Show a run: status, spent, deliverable."""
    with Api(principal=principal, json=json) as api:
        record = api.get(run_path(run))
    if json:
        output.emit(record)
        return
    console = output.console()
    console.print(f"[bold]{record['id']}[/]  {record['capsule']}  by {record['actor']}", soft_wrap=True)
    console.print(f"{colored(record['status'])}  step {record['step']}  spent {amounts(record['spent'])}")
    if record["reason"]:
        console.print(record["reason"], markup=False, soft_wrap=True)
    console.print(f"started {clock(record['created_at'])}  ended {clock(record['closed_at']) or 'not yet'}")
    if record["output"] is not None:
        console.print_json(data=record["output"])


@app.command("watch")
def watch_run(run: RunId, principal: As = None, json: Json = False) -> None:
    """Follow a run to its end, then print what it hands over."""
    with Api(principal=principal, json=json) as api:
        record = api.get(run_path(run))
        capsule = api.get(f"/v1/capsules/{record['capsule']}")["capsule"]
        watch(api, run, tasks=tasks_of(capsule), no_wait=False, json=json)


@app.command()
def events(
    run: RunId,
    follow: Annotated[bool, typer.Option("--follow", help="Go on until the run is closed.")] = False,
    principal: As = None,
    json: Json = False,
) -> None:
    """Show a run's events. With --json: one JSON document a line."""
    with Api(principal=principal, json=json) as api:
        record = api.get(run_path(run))
        if record["closed_at"] is None and not follow:
            output.fail(f"The run is {record['status']}; --follow shows its events to the end.", code=Code.USAGE)
        try:
            asyncio.run(_events(api, run, json=json))
        except Lost as error:
            if error.response is not None:
                api.refuse(error.response)
            output.fail(str(error), code=Code.UNAVAILABLE)
        except KeyboardInterrupt:
            raise typer.Exit(Code.INTERRUPTED) from None


@app.command()
def cancel(run: RunId, reason: Reason = "", principal: As = None, json: Json = False) -> None:
    """End a run: its container stops and its budget returns."""
    _control(run, "cancel", reason, principal, json=json)


@app.command()
def pause(run: RunId, reason: Reason = "", principal: As = None, json: Json = False) -> None:
    """Let the action under way end, and start no other."""
    _control(run, "pause", reason, principal, json=json)


@app.command()
def resume(run: RunId, reason: Reason = "", principal: As = None, json: Json = False) -> None:
    """Go on after a pause."""
    _control(run, "resume", reason, principal, json=json)


@app.command()
def message(
    run: RunId,
    text: Annotated[str, typer.Argument(help="What the persona reads before its next thought.")],
    key: Key = None,
    principal: As = None,
    json: Json = False,
) -> None:
    """Say something to the running persona."""
    with Api(principal=principal, json=json) as api:
        view = api.post(run_path(run, "messages"), {"text": text} | ({"id": key} if key else {}))
    _show_view(view, json=json)


def _control(run: str, what: str, reason: str, principal: str | None, *, json: bool) -> None:
    with Api(principal=principal, json=json) as api:
        view = api.post(run_path(run, what), {"reason": reason})
    _show_view(view, json=json)


def _show_view(view: dict[str, Any], *, json: bool) -> None:
    if json:
        output.emit(view)
        return
    left = f"  left {amounts(view['left'])}" if view.get("left") else ""
    steps = f"step {view['step']} of {view['max_steps']}"
    output.console().print(f"{colored(view['status'])}  {steps}  spent {amounts(view['spent'])}{left}")


async def _events(api: Api, run: str, *, json: bool) -> None:
    progress = RunProgress(output.console(), run)
    async with httpx.AsyncClient(base_url=api.base, headers=api.headers) as client:
        async for told in follow_one(client, run):
            if json:
                line = {"run": told.run, "type": told.type, "at": told.at, "data": told.data}
                sys.stdout.write(json_format.dumps(line, ensure_ascii=False) + "\n")
                sys.stdout.flush()
            else:
                progress.show(told)
