"""Command `somagent run`: start a run, follow it live, print its deliverable."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Annotated, Any

import httpx
import typer
from rich.json import JSON
from rich.markup import escape
from typer import Option

from capsules.runs.url import run_path
from somagent.cli import output
from somagent.cli.command import CapsuleArgument, KeyOption, ProjectOption, command, group
from somagent.cli.connection import Api
from somagent.cli.exit_codes import Code
from somagent.cli.inputs import ExampleOption, FieldOption, InputFileOption, InputsOption, capsule_and_inputs
from somagent.cli.run_progress import RunProgress
from somagent.cli.run_stream import RunEvent, StreamLost, follow

WAITS = frozenset({"awaiting_approval", "awaiting_budget"})
app = group()


@command(app)
def run(  # noqa: PLR0913, PLR0917 - the command line's own options
    api: Api,
    capsule: CapsuleArgument,
    inputs: InputsOption = None,
    fields: FieldOption = None,
    texts: InputFileOption = None,
    example: ExampleOption = False,
    project: ProjectOption = None,
    key: KeyOption = None,
    detach: Annotated[bool, Option("--detach", "-d", help="Print the run's id and return; the run continues.")] = False,
    no_wait: Annotated[bool, Option("--no-wait", help="Exit code 7 if the run waits for a person or budget.")] = False,
) -> None:
    """Start a run and follow it to its end. Ctrl-C stops following; the run continues."""
    published, given = capsule_and_inputs(api, capsule, example=example, file=inputs, fields=fields, files=texts)
    started = api.post(f"/v1/capsules/{capsule}/runs", {"inputs": given, "project": project}, key=key)
    if detach:
        api.show(started, lambda it: [escape(it["id"])])
    else:
        watch(api, started["id"], published, no_wait=no_wait)


def watch(api: Api, run: str, capsule: dict[str, Any], *, no_wait: bool = False) -> None:
    """Follow a run and its child runs to its end, print the deliverable, and end the command with the run's code.

    `no_wait`: stop following, and end with code 7, when the run waits for a person or for budget.
    """
    tasks = tuple(task["id"] for task in capsule["spec"].get("tasks", ()))
    progress = RunProgress(output.console(), run)
    waits = False

    def handle(event: RunEvent) -> bool:
        nonlocal waits
        if not api.json:
            progress.show(event)
        waits = no_wait and event.type == "run.changed" and event.data.get("status") in WAITS
        return waits

    if not api.json:
        output.show([f"[bold]{run}[/]"])
    try:
        read_events(api, lambda client: follow(client, run, tasks=tasks), handle, then=f"somagent runs show {run}")
    except KeyboardInterrupt:
        output.fail(f"The run continues. Stop it: somagent runs cancel {run}", code=Code.INTERRUPTED)
    record = api.get(run_path(run))
    api.show(record, lambda it: [] if it["output"] is None else [JSON.from_data(it["output"])])
    if record["status"] in {"failed", "cancelled"}:
        raise typer.Exit(Code.RUN_FAILED)
    if waits:
        raise typer.Exit(Code.WAITING)


def read_events(
    api: Api,
    stream: Callable[[httpx.AsyncClient], AsyncIterator[RunEvent]],
    handle: Callable[[RunEvent], bool],
    *,
    then: str | None = None,
) -> None:
    """Pass each event of a stream to `handle`, until that returns true or the stream ends.

    Ends the command when the API refuses or cannot be reached for too long; `then` is a command to suggest then.
    """

    async def read() -> None:
        async with httpx.AsyncClient(base_url=api.base, auth=api.auth) as client:
            async for event in stream(client):
                if handle(event):
                    return

    try:
        asyncio.run(read())
    except StreamLost as error:
        if error.response is not None:
            api.end_with_response(error.response)
        output.fail(f"{error} The run continues: {then}" if then else str(error), code=Code.UNAVAILABLE)
