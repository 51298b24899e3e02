"""A ticket desk, and tools of kind `tickets` that open tickets there: an executor written by `docs/extending.md`.

The desk is a real HTTP server with idempotency keys. It goes on with what it has begun when a connection is lost, as
such services do; `DELETE` of a key stops what goes on for it and forgets it.
"""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import httpx
import uvicorn
from servers import free_ports
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from capsules.actions.ledger_messages import AttemptKey
from capsules.errors import Conflict, Unavailable
from capsules.tools.tool import ToolAnswer, ToolCall

TOOL = """
apiVersion: somagent/v1
kind: Tool
metadata: {name: tickets, version: 1.0.0, summary: Opens tickets at the desk.}
spec:
  kind: tickets
  actions:
    open:
      summary: Open a ticket.
      inputs:
        type: object
        required: [title]
        additionalProperties: false
        properties: {title: {type: string, maxLength: 5000}, after: {type: number, maximum: 60}}
      effect: write
      reversible: true
      egress: allowlist
      data: internal
      idempotent: true
  limits: {seconds: 30, output_bytes: 65536}
"""


class TicketExecutor:
    """Implements `capsules.tools.tool.ToolExecutor` for the kind `tickets`."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http

    async def execute(self, call: ToolCall, *, key: AttemptKey) -> ToolAnswer:
        limits = call.tool.limits
        request = self._http.stream("POST", _path(key), json=call.arguments, timeout=None)
        try:
            async with asyncio.timeout(limits.seconds), request as response:
                body = b""
                async for piece in response.aiter_bytes():
                    body += piece
                    if len(body) > limits.output_bytes:
                        break
        except TimeoutError:
            await self.discard(key)
            return ToolAnswer(ok=False, exit_code=1, error="stopped at its time limit")
        except asyncio.CancelledError:
            await asyncio.shield(self.discard(key))
            raise
        except httpx.TransportError as error:
            raise Unavailable(f"The ticket desk cannot be reached: {error!r}.") from error
        if response.status_code == 409:
            raise Conflict(f"The desk knows the key {key.effect!r} with another ticket.")
        cut = "output cut at its limit" if len(body) > limits.output_bytes else ""
        return ToolAnswer(
            ok=response.is_success,
            exit_code=0 if response.is_success else 1,
            text=body[: limits.output_bytes].decode(errors="ignore"),
            error=cut if response.is_success else f"HTTP {response.status_code}: {response.reason_phrase}",
        )

    async def discard(self, key: AttemptKey) -> None:
        await self._http.delete(_path(key))


def _path(key: AttemptKey) -> str:
    return f"/tickets/{quote(key.effect, safe='')}"


@dataclass
class Desk:
    """What the desk has done. `asked` holds what goes on or is remembered, by idempotency key."""

    url: str
    opened: list[str] = field(default_factory=list)
    asked: dict[str, tuple[Any, asyncio.Task[Response]]] = field(default_factory=dict)
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def at_work(self, key: AttemptKey) -> bool:
        return key.effect in self.asked and not self.asked[key.effect][1].done()

    async def open(self, request: Request) -> Response:
        key, ticket = request.path_params["key"], await request.json()
        if key not in self.asked:
            self.asked[key] = (ticket, asyncio.create_task(self._open(ticket)))
        known, opening = self.asked[key]
        if known != ticket:
            return Response(status_code=409)
        await asyncio.wait({opening})
        return Response(status_code=410) if opening.cancelled() else opening.result()

    async def forget(self, request: Request) -> Response:
        _, opening = self.asked.pop(request.path_params["key"], (None, None))
        if opening is not None:
            opening.cancel()
        return Response(status_code=204)

    async def _open(self, ticket: dict[str, Any]) -> Response:
        await asyncio.sleep(ticket.get("after", 0))
        if not ticket["title"]:
            return Response(status_code=422)
        self.opened.append(ticket["title"])
        return JSONResponse({"number": next(self.numbers), "title": ticket["title"]})


@contextlib.asynccontextmanager
async def ticket_desk() -> AsyncIterator[Desk]:
    """Serve a desk until the end."""
    [port] = free_ports(1)
    desk = Desk(f"http://127.0.0.1:{port}")
    routes = [
        Route("/tickets/{key:path}", desk.open, methods=["POST"]),
        Route("/tickets/{key:path}", desk.forget, methods=["DELETE"]),
    ]
    config = uvicorn.Config(Starlette(routes=routes), host="127.0.0.1", port=port, log_level="warning")
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 - uvicorn offers no event
        await asyncio.sleep(0.01)
    try:
        yield desk
    finally:
        server.should_exit = True
        await serving
