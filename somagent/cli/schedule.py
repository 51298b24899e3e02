"""Commands `somagent schedule`: runs that start at set times."""

from typing import Annotated, Any

from rich.markup import escape
from typer import Argument, Option

from somagent.cli.command import LimitOption, ProjectOption, command, group
from somagent.cli.connection import Api, JsonValue
from somagent.cli.inputs import FieldOption, InputFileOption, InputsOption, gather
from somagent.cli.output import Lines, color, local_time, table

PATH = "/v1/schedules"
app = group("schedule", "Create and control schedules, which start runs at set times.")
ScheduleArgument = Annotated[str, Argument(metavar="NAME", help="The schedule's name.")]


def _state(schedule: dict[str, Any]) -> str:
    return color("paused" if schedule["paused"] else "active")


def _times(schedule: dict[str, Any]) -> str:
    return ", ".join(schedule["cron"]) or f"every {schedule['every']} s"


def _row(item: dict[str, Any]) -> tuple[str, ...]:
    return item["name"], item["capsule"], _times(item), _state(item), local_time(next(iter(item["next"]), None))


def _lines(it: dict[str, Any]) -> Lines:
    yield f"[bold]{it['name']}[/]  {it['capsule']}  {_times(it)}  {_state(it)}"
    yield f"in the name of {it['actor']}, from {it['account']}, overlap {it['overlap']}"
    yield f"next: {', '.join(local_time(time) for time in it['next'][:3]) or 'never'}"
    for run in it["recent"]:
        yield escape(f"started {run}")


@command(app, text=_lines)
def create(  # noqa: PLR0913, PLR0917 - the command line's own options
    api: Api,
    name: ScheduleArgument,
    capsule: Annotated[
        str, Argument(metavar="CAPSULE", help="`name`, `name@1` or `name@1.2.0`. All runs use the version found now.")
    ],
    cron: Annotated[
        list[str] | None, Option(metavar="CRON", help="Five cron fields in UTC, such as '0 7 * * 1'. Repeatable.")
    ] = None,
    every: Annotated[str | None, Option(metavar="TIME", help="Instead of --cron, an interval: 30m, 2h, 1d.")] = None,
    overlap: Annotated[
        str,
        Option(
            metavar="POLICY",
            help="If the last run is open: skip, buffer_one, buffer_all, cancel_other, terminate_other or allow_all.",
        ),
    ] = "skip",
    catch_up: Annotated[str, Option(metavar="TIME", help="Start a missed run if it is not later than this.")] = "10m",
    paused: Annotated[bool, Option("--paused", help="Create it paused.")] = False,
    note: Annotated[str, Option(help="Note for people about its purpose.")] = "",
    project: ProjectOption = None,
    inputs: InputsOption = None,
    fields: FieldOption = None,
    texts: InputFileOption = None,
) -> JsonValue:
    """Create a schedule. It starts runs in your name."""
    body: dict[str, Any] = {
        "name": name,
        "capsule": capsule,
        "inputs": gather(file=inputs, fields=fields, files=texts),
        "overlap": overlap,
        "catch_up": catch_up,
        "paused": paused,
        "note": note,
        "project": project,
        "cron": cron or None,
        "every": every,
    }
    return api.post(PATH, body)


@command(app, "list", text=table("name", "capsule", "when", "state", "next", row=_row))
def list_schedules(api: Api, limit: LimitOption = 100) -> JsonValue:
    """List schedules."""
    return api.get(PATH)["items"][:limit]


@command(app, text=_lines)
def show(api: Api, name: ScheduleArgument) -> JsonValue:
    """Show a schedule: its next times and its last runs."""
    return api.get(f"{PATH}/{name}")


@command(app, text=_lines)
def pause(api: Api, name: ScheduleArgument) -> JsonValue:
    """Pause a schedule. It starts no run until it is unpaused."""
    return api.post(f"{PATH}/{name}/pause")


@command(app, text=_lines)
def unpause(api: Api, name: ScheduleArgument) -> JsonValue:
    """Unpause a schedule. It then starts runs in your name, with a new start authority."""
    return api.post(f"{PATH}/{name}/unpause")


@command(app, text=_lines)
def trigger(api: Api, name: ScheduleArgument) -> JsonValue:
    """Start a run of a schedule now."""
    return api.post(f"{PATH}/{name}/trigger")


@command(app, text=lambda it: [escape(f"Deleted {it['deleted']}.")])
def delete(api: Api, name: ScheduleArgument) -> JsonValue:
    """Delete a schedule. Runs that it started continue."""
    api.delete(f"{PATH}/{name}")
    return {"deleted": name}
