"""A run's events as they happen, as server-sent events."""

from typing import Annotated

from fastapi import APIRouter, Header
from fastapi.responses import StreamingResponse

from api.access import RunReader
from api.deps import Soma
from api.middleware.problems import responses
from api.resources.events.event_stream import Position, follow
from api.resources.runs import service as runs
from api.run_urls import RunPath

router = APIRouter(prefix="/v1/runs", tags=["runs"])

STREAM = {
    "description": "Events by their types (`run.changed`, `action.decided`, …) and `token`, until `run.closed`.",
    "content": {"text/event-stream": {"schema": {"type": "string"}}},
}


@router.get("/{run}/events", response_class=StreamingResponse, responses={200: STREAM, **responses(404)})
async def watch_run(
    run: RunPath,
    caller: RunReader,
    soma: Soma,
    last_event_id: Annotated[
        str | None, Header(max_length=100, description="Id of the last event seen; the stream continues after it.")
    ] = None,
) -> StreamingResponse:
    """Follow a run. Stored events come once each and in order, across reconnects; pieces of replies come live."""
    record = await runs.get(soma, caller, run)
    stream = follow(soma, record, Position.parse(last_event_id))
    return StreamingResponse(stream, media_type="text/event-stream", headers={"Cache-Control": "no-store"})
