"""`somagent schedule`: runs that start by the clock."""

from typing import Annotated, Any

import typer

from somagent.cli import output
from somagent.cli.connection import Api
from somagent.cli.formatting import clock, table
from somagent.cli.inputs import gather
from somagent.cli.options import As, Json, Limit, Project
from somagent.cli.run import Fields, File, Texts

app = typer.Typer(no_args_is_help=True, help="Start runs by the clock.")
Name = Annotated[str, typer.Argument(metavar="NAME", help="The schedule's name.")]


def register(to: typer.Typer) -> None:
    to.add_typer(app, name="schedule")


@app.command()
def create(  # noqa: PLR0913, PLR0917 - the command line's own options
    name: Name,
    capsule: Annotated[str, typer.Argument(metavar="CAPSULE", help="Resolved now; its runs stay on that version.")],
    cron: Annotated[
        list[str] | None, typer.Option("--cron", help="Five cron fields in UTC, such as '0 7 * * 1'.")
    ] = None,
    every: Annotated[str | None, typer.Option("--every", help="Instead of --cron: 90s, 30m, 2h, 1d.")] = None,
    overlap: Annotated[
        str,
        typer.Option(
            "--overlap",
            help="While the last run goes on: skip, buffer_one, buffer_all, cancel_other, terminate_other, allow_all.",
        ),
    ] = "skip",
    catch_up: Annotated[
        str, typer.Option("--catch-up", help="Starts missed for longer than this are left out.")
    ] = "10m",
    paused: Annotated[bool, typer.Option("--paused", help="Create it paused.")] = False,
    note: Annotated[str, typer.Option("--note", help="What it is for.")] = "",
    project: Project = None,
    inputs: File = None,
    fields: Fields = None,
    texts: Texts = None,
    principal: As = None,
    json: Json = False,
) -> None:
    """Create a schedule."""
    given = gather(example=None, file=inputs, fields=fields or [], files=texts or [])
    body: dict[str, Any] = {
        "name": name,
        "capsule": capsule,
        "inputs": given,
        "overlap": overlap,
        "catch_up": catch_up,
        "paused": paused,
        "note": note,
        "project": project,
    }
    body |= ({"cron": cron} if cron else {}) | ({"every": every} if every else {})
    with Api(principal=principal, json=json) as api:
        _show(api.post("/v1/schedules", body), json=json)


@app.command("list")
def list_schedules(limit: Limit = 100, principal: As = None, json: Json = False) -> None:
    """List schedules."""
    with Api(principal=principal, json=json) as api:
        items = api.get("/v1/schedules")["items"][:limit]
    if json:
        output.emit(items)
        return
    shown = table("name", "capsule", "when", "state", "next")
    for item in items:
        state = "[yellow]paused[/]" if item["paused"] else "[green]active[/]"
        shown.add_row(item["name"], item["capsule"], _when(item), state, clock(next(iter(item["next"]), None)))
    output.console().print(shown)


@app.command()
def show(name: Name, principal: As = None, json: Json = False) -> None:
    """Show a schedule: when it runs next, what it started last."""
    with Api(principal=principal, json=json) as api:
        _show(api.get(f"/v1/schedules/{name}"), json=json)


@app.command()
def pause(name: Name, principal: As = None, json: Json = False) -> None:
    """Start nothing until it is unpaused."""
    _tell(name, "pause", principal, json=json)


@app.command()
def unpause(name: Name, principal: As = None, json: Json = False) -> None:
    """Go on, in your name and with a fresh authority."""
    _tell(name, "unpause", principal, json=json)


@app.command()
def trigger(name: Name, principal: As = None, json: Json = False) -> None:
    """Start a run of it now."""
    _tell(name, "trigger", principal, json=json)


@app.command()
def delete(name: Name, principal: As = None, json: Json = False) -> None:
    """Delete a schedule. Runs that it started go on."""
    with Api(principal=principal, json=json) as api:
        api.delete(f"/v1/schedules/{name}")
    if json:
        output.emit({"deleted": name})
    else:
        output.console().print(f"Deleted {name}.", markup=False)


def _tell(name: str, what: str, principal: str | None, *, json: bool) -> None:
    with Api(principal=principal, json=json) as api:
        _show(api.post(f"/v1/schedules/{name}/{what}"), json=json)


def _show(schedule: dict[str, Any], *, json: bool) -> None:
    if json:
        output.emit(schedule)
        return
    console = output.console()
    state = "[yellow]paused[/]" if schedule["paused"] else "[green]active[/]"
    console.print(f"[bold]{schedule['name']}[/]  {schedule['capsule']}  {_when(schedule)}  {state}", soft_wrap=True)
    console.print(
        f"in the name of {schedule['actor']}, from {schedule['account']}, overlap {schedule['overlap']}", soft_wrap=True
    )
    console.print(f"next: {', '.join(clock(time) for time in schedule['next'][:3]) or 'never'}", soft_wrap=True)
    for run in schedule["recent"]:
        console.print(f"started {run}", markup=False, soft_wrap=True)


def _when(schedule: dict[str, Any]) -> str:
    return ", ".join(schedule["cron"]) or f"every {schedule['every']} s"
