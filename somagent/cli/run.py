"""`somagent run`: start a capsule, watch it live, print what it hands over."""

import asyncio
from typing import Annotated, Any

import httpx
import typer

from somagent.cli import output
from somagent.cli.connection import Api, run_path
from somagent.cli.exit_codes import Code
from somagent.cli.inputs import gather
from somagent.cli.options import As, Json, Key, Project
from somagent.cli.progress import RunProgress
from somagent.cli.run_stream import Lost, follow

WAITS = frozenset({"awaiting_approval", "awaiting_budget"})

File = Annotated[
    str | None, typer.Option("-i", "--inputs", metavar="FILE", help="Inputs as JSON or YAML; - is standard input.")
]
Fields = Annotated[
    list[str] | None,
    typer.Option(
        "-f", "--field", metavar="NAME=VALUE", help="One input: JSON where it is JSON, else text. Dots lead inside."
    ),
]
Texts = Annotated[
    list[str] | None, typer.Option("--input-file", metavar="NAME=PATH", help="One input: the text of a file.")
]
Example = Annotated[bool, typer.Option("--example", help="Begin with the inputs of the capsule's own example.")]
Detach = Annotated[bool, typer.Option("--detach", "-d", help="Return at once; the run goes on.")]
NoWait = Annotated[bool, typer.Option("--no-wait", help="End with code 7 when the run waits for a person or budget.")]


def register(app: typer.Typer) -> None:
    app.command()(run)


def run(  # noqa: PLR0913, PLR0917 - the command line's own options
    capsule: Annotated[str, typer.Argument(metavar="CAPSULE", help="`name`, `name@1`, `name@^1.2` or `name@1.2.0`.")],
    inputs: File = None,
    fields: Fields = None,
    texts: Texts = None,
    example: Example = False,
    project: Project = None,
    key: Key = None,
    detach: Detach = False,
    no_wait: NoWait = False,
    principal: As = None,
    json: Json = False,
) -> None:
    """Start a run and follow it to its end. Ctrl-C stops following; the run goes on."""
    with Api(principal=principal, json=json) as api:
        found = api.get(f"/v1/capsules/{capsule}")["capsule"]
        given = gather(
            example=example_of(found, capsule) if example else None, file=inputs, fields=fields or [], files=texts or []
        )
        started = api.post(f"/v1/capsules/{capsule}/runs", {"inputs": given, "project": project}, key=key)
        if detach:
            _say_started(started, json=json)
            return
        watch(api, started["id"], tasks=tasks_of(found), no_wait=no_wait, json=json)


def tasks_of(capsule: dict[str, Any]) -> tuple[str, ...]:
    """Return the ids of the child runs that a capsule may start."""
    return tuple(task["id"] for task in capsule["spec"].get("tasks", ()))


def watch(api: Api, run: str, *, tasks: tuple[str, ...], no_wait: bool, json: bool) -> None:
    """Follow a run to its end, print the deliverable, and end the command with the run's code."""
    if not json:
        output.console().print(f"[bold]{run}[/]", soft_wrap=True)
    try:
        waits = asyncio.run(_follow(api, run, tasks=tasks, no_wait=no_wait, json=json))
    except Lost as error:
        if error.response is not None:
            api.refuse(error.response)
        output.fail(f"{error} The run goes on: somagent runs show {run}", code=Code.UNAVAILABLE)
    except KeyboardInterrupt:
        output.fail(f"The run goes on. Stop it: somagent runs cancel {run}", code=Code.INTERRUPTED)
    finish(api.get(run_path(run)), json=json)
    if waits:
        raise typer.Exit(Code.WAITING)


def finish(record: dict[str, Any], *, json: bool) -> None:
    """Print what a run hands over; end the command with code 1 when it did not complete."""
    if json:
        output.emit(record)
    elif record["output"] is not None:
        output.console().print_json(data=record["output"])
    if record["status"] in {"failed", "cancelled"}:
        raise typer.Exit(Code.RUN_FAILED)


async def _follow(api: Api, run: str, *, tasks: tuple[str, ...], no_wait: bool, json: bool) -> bool:
    """Show events until the run is closed, or, with `no_wait`, until it waits. Say whether it waits."""
    progress = RunProgress(output.console(), run)
    async with httpx.AsyncClient(base_url=api.base, headers=api.headers) as client:
        async for told in follow(client, run, tasks=tasks):
            if not json:
                progress.show(told)
            if no_wait and told.type == "run.changed" and told.data.get("status") in WAITS:
                return True
    return False


def example_of(capsule: dict[str, Any], reference: str) -> dict[str, Any]:
    example = capsule["spec"].get("example")
    if not isinstance(example, dict):
        output.fail(f"The capsule {reference!r} has no example; give its inputs with -i or -f.", code=Code.USAGE)
    return example


def _say_started(record: dict[str, Any], *, json: bool) -> None:
    if json:
        output.emit(record)
    else:
        output.console().print(record["id"], markup=False, soft_wrap=True)
