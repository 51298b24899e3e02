"""Following runs: server-sent events of a run and its children in one stream, across reconnects."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import httpx

PATIENCE = 60.0  # seconds that the API may be away
PAUSE = 0.5
READ_TIMEOUT = 45.0  # the stream says something every 15 s


class Lost(Exception):
    """The API stayed away, or refuses to tell; `response` is what it said, if it said something."""

    def __init__(self, reason: str, response: httpx.Response | None = None) -> None:
        super().__init__(reason)
        self.response = response


@dataclass(frozen=True)
class RunEvent:
    """One event of a run, or a piece of a reply (`token`)."""

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
    """Yield what happens in a run and in the child runs of these tasks, until the run is closed."""
    waiting: asyncio.Queue[RunEvent | Exception] = asyncio.Queue(1000)
    followers = [asyncio.create_task(_into(waiting, client, run, child=False))]
    followers += [asyncio.create_task(_into(waiting, client, f"{run}/{task}", child=True)) for task in tasks]
    try:
        while True:
            told = await waiting.get()
            if isinstance(told, Exception):
                raise told
            yield told
            if told.run == run and told.type == "run.closed":
                return
    finally:
        for follower in followers:
            follower.cancel()
        await asyncio.gather(*followers, return_exceptions=True)


async def _into(
    waiting: "asyncio.Queue[RunEvent | Exception]", client: httpx.AsyncClient, run: str, *, child: bool
) -> None:
    try:
        async for told in follow_one(client, run, wait_for_it=child):
            await waiting.put(told)
    except Lost as error:
        if not child:  # a child may never start: its parent tells why
            await waiting.put(error)


async def follow_one(client: httpx.AsyncClient, run: str, *, wait_for_it: bool = False) -> AsyncIterator[RunEvent]:
    """Yield a run's events until it is closed. Raises Lost."""
    last, away = "", 0.0
    while True:
        try:
            async for message in _connect(client, run, last):
                last, away = message.id or last, 0.0
                told = _told(run, message)
                yield told
                if told.type == "run.closed":
                    return
        except Lost as error:
            status = error.response.status_code if error.response is not None else 0
            if not (status >= 500 or status == 429 or (wait_for_it and status == 404)):
                raise
            reason = str(error)
        except httpx.TransportError as error:
            reason = type(error).__name__
        else:
            reason = "the stream ended"
        if not wait_for_it:
            away += PAUSE
        if away > PATIENCE:
            raise Lost(f"The API was away for {PATIENCE:.0f} s ({reason}).")
        await asyncio.sleep(PAUSE)


async def _connect(client: httpx.AsyncClient, run: str, last: str) -> AsyncIterator[ServerSentEvent]:
    headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": last} if last else {})
    path = f"/v1/runs/{run.replace('/', '~')}/events"
    timeout = httpx.Timeout(READ_TIMEOUT, connect=5)
    async with client.stream("GET", path, headers=headers, timeout=timeout) as response:
        if response.is_error:
            await response.aread()
            raise Lost(f"answered {response.status_code}", response)
        message = ServerSentEvent()
        async for line in response.aiter_lines():
            if line:
                _take(message, line)
                continue
            if message.data:
                yield message
            message = ServerSentEvent()


def _take(message: ServerSentEvent, line: str) -> None:
    name, _, value = line.partition(":")
    value = value.removeprefix(" ")
    match name:
        case "id":
            message.id = value
        case "event":
            message.event = value
        case "data":
            message.data.append(value)
        case _:
            pass  # a comment, or a field we do not know


def _told(run: str, message: ServerSentEvent) -> RunEvent:
    body = json.loads("\n".join(message.data))
    if message.event == "token":
        return RunEvent(run=run, type="token", data=body)
    return RunEvent(run=run, type=message.event, data=body.get("data", {}), at=body.get("at", ""))
