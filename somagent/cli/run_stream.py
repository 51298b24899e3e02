"""Event stream of runs: the server-sent events of a run and its child runs as one stream, across reconnects."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import httpx

from capsules.runs.url import run_path

MAX_AWAY_SECONDS = 60.0  # how long the API may be unreachable
RETRY_SECONDS = 0.5
READ_TIMEOUT_SECONDS = 45.0  # the API sends a comment at least every 15 s


class StreamLost(Exception):
    """The API could not be reached for too long, or refused. `response` is its answer, if there was one."""

    def __init__(self, reason: str, response: httpx.Response | None = None) -> None:
        super().__init__(reason)
        self.response = response


@dataclass(frozen=True)
class RunEvent:
    """One event of a run, or a piece of a reply (type `token`)."""

    run: str
    type: str
    data: dict[str, Any]
    at: str = ""


@dataclass
class ServerSentEvent:
    """A server-sent event while its lines arrive."""

    id: str = ""
    event: str = ""
    data: list[str] = field(default_factory=list)


async def follow(client: httpx.AsyncClient, run: str, *, tasks: tuple[str, ...] = ()) -> AsyncIterator[RunEvent]:
    """Yield the events of a run and of the child runs of these tasks, until the run is closed.

    Raises StreamLost.
    """
    queue: asyncio.Queue[RunEvent | StreamLost] = asyncio.Queue(1000)
    followers = [asyncio.create_task(_enqueue(queue, client, run, child=False))]
    followers += [asyncio.create_task(_enqueue(queue, client, f"{run}/{task}", child=True)) for task in tasks]
    try:
        while True:
            event = await queue.get()
            if isinstance(event, StreamLost):
                raise event
            yield event
            if event.run == run and event.type == "run.closed":
                return
    finally:
        for follower in followers:
            follower.cancel()
        await asyncio.gather(*followers, return_exceptions=True)


async def _enqueue(
    queue: "asyncio.Queue[RunEvent | StreamLost]", client: httpx.AsyncClient, run: str, *, child: bool
) -> None:
    try:
        async for event in follow_one(client, run, wait_for_it=child):
            await queue.put(event)
    except StreamLost as error:
        if not child:  # a child run may never start; the events of its parent say why
            await queue.put(error)


async def follow_one(client: httpx.AsyncClient, run: str, *, wait_for_it: bool = False) -> AsyncIterator[RunEvent]:
    """Yield a run's events until it is closed. `wait_for_it`: the run may not exist yet. Raises StreamLost."""
    last, away = "", 0.0
    while True:
        try:
            async for message in _connect(client, run, last):
                last, away = message.id or last, 0.0
                event = _parse(run, message)
                yield event
                if event.type == "run.closed":
                    return
        except StreamLost as error:
            status = error.response.status_code if error.response is not None else 0
            if not (status >= 500 or status == 429 or (wait_for_it and status == 404)):
                raise
            reason = str(error)
        except httpx.TransportError as error:
            reason = type(error).__name__
        else:
            reason = "the stream ended"
        if not wait_for_it:
            away += RETRY_SECONDS
        if away > MAX_AWAY_SECONDS:
            raise StreamLost(f"The API was away for {MAX_AWAY_SECONDS:.0f} s ({reason}).")
        await asyncio.sleep(RETRY_SECONDS)


async def _connect(client: httpx.AsyncClient, run: str, last: str) -> AsyncIterator[ServerSentEvent]:
    headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": last} if last else {})
    timeout = httpx.Timeout(READ_TIMEOUT_SECONDS, connect=5)
    async with client.stream("GET", run_path(run, "events"), headers=headers, timeout=timeout) as response:
        if response.is_error:
            await response.aread()
            raise StreamLost(f"answered {response.status_code}", response)
        message = ServerSentEvent()
        async for line in response.aiter_lines():
            if line:
                name, _, value = line.partition(":")
                value = value.removeprefix(" ")
                match name:
                    case "id":
                        message.id = value
                    case "event":
                        message.event = value
                    case "data":
                        message.data.append(value)
                continue  # other names are comments or unknown fields
            if message.data:
                yield message
            message = ServerSentEvent()


def _parse(run: str, message: ServerSentEvent) -> RunEvent:
    body = json.loads("\n".join(message.data))
    if message.event == "token":
        return RunEvent(run=run, type="token", data=body)
    return RunEvent(run=run, type=message.event, data=body.get("data", {}), at=body.get("at", ""))
