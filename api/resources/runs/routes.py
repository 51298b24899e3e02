"""Runs: start, list, show, control and follow a run; its receipts and artifacts."""

import secrets
from typing import Annotated

from fastapi import Header, Query, Response
from fastapi.responses import StreamingResponse

from api.access import CapsuleRunner, Presented, RunController, RunReader
from api.deps import StateDep
from api.middleware.policy_headers import POLICY_HEADERS, set_policy_headers
from api.middleware.problems import resource_router, responses
from api.parameters import (
    REFERENCE,
    After,
    CapsuleReference,
    Cursor,
    DigestPath,
    IdempotencyKey,
    PageLimit,
    SequencePage,
    sequence_page,
)
from api.resources.runs import service
from api.resources.runs.event_stream import Position, follow
from api.resources.runs.schemas import MessageRequest, RunRequest, RunSummary
from api.run_urls import RunPath, require_own
from api.temporal import query
from capsules.audit.receipt import Receipt
from capsules.base_model import Page
from capsules.names import parse_reference
from capsules.runs.run import ArtifactRecord, Control, InboxMessage, RunRecord, RunStatus, RunView
from capsules.runs.url import run_path

router = resource_router("/v1/runs", "runs")
starts = resource_router("/v1/capsules", "capsules")
"""A run is started at the path of its capsule."""
artifacts = resource_router("/v1/artifacts", "runs")

STREAM = {
    "description": "Events by their types (`run.changed`, `action.decided`, …) and `token`, until `run.closed`.",
    "content": {"text/event-stream": {"schema": {"type": "string"}}},
}
BYTES = {"description": "The bytes.", "content": {"application/octet-stream": {"schema": {"type": "string"}}}}
# Artifacts contain what models wrote: a browser must not run them in our origin.
ARTIFACT_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Disposition": "attachment",
    "Cache-Control": "private, immutable",
}


@starts.post(
    "/{ref}/runs",
    status_code=202,
    responses={
        200: {"model": RunRecord, "description": "The run that this key started before.", **POLICY_HEADERS},
        202: POLICY_HEADERS,
        **responses(404, 409),
    },
)
async def start_run(  # noqa: PLR0913, PLR0917 - a parameter for each part of a start
    ref: CapsuleReference,
    body: RunRequest,
    response: Response,
    caller: CapsuleRunner,
    state: StateDep,
    idempotency_key: IdempotencyKey = None,
) -> RunRecord:
    """Start a run. `Location` is its URL. Without an `Idempotency-Key` every request starts a new run."""
    key = idempotency_key or secrets.token_hex(8)
    started = await service.start(state, caller, parse_reference(ref), body, key)
    response.status_code = 202 if started.created else 200
    response.headers["Location"] = run_path(started.run.id)
    if started.verdict is not None:
        set_policy_headers(response, started.verdict)
    return started.run


@router.get("")
async def list_runs(  # noqa: PLR0913, PLR0917 - a parameter for each filter
    caller: RunReader,
    state: StateDep,
    cursor: Cursor = None,
    limit: PageLimit = 50,
    status: Annotated[RunStatus | None, Query(description="Only runs in this status.")] = None,
    capsule: Annotated[
        str | None, Query(pattern=REFERENCE, max_length=160, description="Only runs of this capsule.")
    ] = None,
) -> Page[RunSummary]:
    """List the tenant's runs, newest first."""
    async with state.db.transaction(caller.tenant) as tx:
        page = await tx.runs.list(cursor, limit, status=status, capsule=capsule)
    return Page(items=tuple(RunSummary.model_validate(run) for run in page.items), next=page.next)


@router.get("/{run}", responses=responses(404))
async def show_run(run: RunPath, caller: RunReader, state: StateDep) -> RunRecord:
    """Show a run from the database: status, inputs, deliverable, usage."""
    return await service.get(state, caller, run)


@router.get("/{run}/state", responses=responses(404, 409))
async def show_state(run: RunPath, caller: RunReader, state: StateDep) -> RunView:
    """Show the state of the run's workflow: step, waiting approvals, last steps. Needs a worker, unlike `/{run}`."""
    await service.get(state, caller, run)
    return await query(state.temporal, run, "state", answer=RunView)


@router.get("/{run}/events", response_class=StreamingResponse, responses={200: STREAM, **responses(404)})
async def watch_run(
    run: RunPath,
    caller: RunReader,
    presented: Presented,
    state: StateDep,
    last_event_id: Annotated[
        str | None, Header(max_length=100, description="Id of the last event received. The stream continues after it.")
    ] = None,
) -> StreamingResponse:
    """Follow a run. Each stored event arrives once and in order, also after a reconnect; tokens are not stored.

    The stream ends with your access token: reconnect with the next one.
    """
    record = await service.get(state, caller, run)
    stream = follow(state, record, Position.parse(last_event_id), presented)
    return StreamingResponse(stream, media_type="text/event-stream", headers={"Cache-Control": "no-store"})


@router.post("/{run}/pause", responses=responses(404, 409))
async def pause_run(run: RunPath, caller: RunController, state: StateDep, body: Control | None = None) -> RunView:
    """Pause a run: the current action ends and no other one begins."""
    return await service.control(state, caller, run, "pause", body)


@router.post("/{run}/resume", responses=responses(404, 409))
async def resume_run(run: RunPath, caller: RunController, state: StateDep, body: Control | None = None) -> RunView:
    """Resume a paused run."""
    return await service.control(state, caller, run, "resume", body)


@router.post("/{run}/cancel", responses=responses(404, 409))
async def cancel_run(run: RunPath, caller: RunController, state: StateDep, body: Control | None = None) -> RunView:
    """Cancel a run: its container stops, and the rest of its budget returns to the parent account."""
    return await service.control(state, caller, run, "cancel", body)


@router.post("/{run}/messages", status_code=202, responses=responses(404, 409))
async def send_message(run: RunPath, body: MessageRequest, caller: RunController, state: StateDep) -> RunView:
    """Send a message to the persona, which reads it before its next model call."""
    return await service.send_message(state, caller, run, InboxMessage(**dict(body), sender=caller.subject))


@router.get("/{run}/receipts", responses=responses(404))
async def list_receipts(
    run: RunPath, caller: RunReader, state: StateDep, after: After = 0, limit: PageLimit = 100
) -> SequencePage[Receipt]:
    """List the run's receipts: every decision and outcome. Each contains the hash of the one before it."""
    require_own(run, caller)
    async with state.db.transaction(caller.tenant) as tx:
        await tx.runs.get(run)
        return sequence_page(await tx.receipts.list(run, after, limit), limit, lambda receipt: receipt.seq)


@router.get("/{run}/artifacts", responses=responses(404))
async def list_artifacts(run: RunPath, caller: RunReader, state: StateDep) -> Page[ArtifactRecord]:
    """List the run's artifacts. Their bytes are at `/v1/artifacts/{digest}`."""
    require_own(run, caller)
    async with state.db.transaction(caller.tenant) as tx:
        await tx.runs.get(run)
        return Page(items=tuple(await tx.artifacts.list(run)))


@artifacts.get("/{digest}", response_class=Response, responses={200: BYTES, **responses(404)})
async def read_artifact(digest: DigestPath, caller: RunReader, state: StateDep) -> Response:
    """Return the bytes of an artifact. Stored bytes that do not match the digest are never returned."""
    data = await state.content.get(caller.tenant, digest)
    return Response(data, media_type="application/octet-stream", headers=ARTIFACT_HEADERS)
