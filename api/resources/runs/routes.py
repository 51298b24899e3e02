"""Runs: list, show, control, receipts and artifacts. A run is started at its capsule."""

from typing import Annotated

from fastapi import APIRouter, Query

from api.access import RunController, RunReader
from api.deps import Cursor, PageLimit, Soma
from api.middleware.bodies import StorableJsonRoute
from api.middleware.problems import responses
from api.resources.runs import service
from api.resources.runs.schemas import MessageText, ReceiptPage, RunSummary
from api.run_urls import REFERENCE, RunPath, require_own
from api.temporal import query
from capsules.base_model import Page
from capsules.runs.run import ArtifactRecord, Control, InboxMessage, RunRecord, RunStatus, RunView

router = APIRouter(prefix="/v1/runs", tags=["runs"], route_class=StorableJsonRoute)


@router.get("", responses=responses())
async def list_runs(  # noqa: PLR0913, PLR0917 - a parameter for each filter
    caller: RunReader,
    soma: Soma,
    cursor: Cursor = None,
    limit: PageLimit = 50,
    status: Annotated[RunStatus | None, Query(description="Only runs in this status.")] = None,
    capsule: Annotated[
        str | None, Query(pattern=REFERENCE, max_length=160, description="Only runs of this capsule.")
    ] = None,
) -> Page[RunSummary]:
    """List the tenant's runs, newest first."""
    async with soma.db.transaction(caller.tenant) as tx:
        page = await tx.runs.list(cursor, limit, status=status, capsule=capsule)
    return Page(items=tuple(RunSummary.model_validate(run) for run in page.items), next=page.next)


@router.get("/{run}", responses=responses(404))
async def show_run(run: RunPath, caller: RunReader, soma: Soma) -> RunRecord:
    """Show a run from the database: status, inputs, deliverable, usage."""
    return await service.get(soma, caller, run)


@router.get("/{run}/state", responses=responses(404, 409))
async def show_state(run: RunPath, caller: RunReader, soma: Soma) -> RunView:
    """Show the workflow's own state: step, waiting approvals, last steps. Needs a worker, unlike `/{run}`."""
    await service.get(soma, caller, run)
    return await query(soma.temporal, run, "state", answer=RunView)


@router.post("/{run}/pause", responses=responses(404, 409))
async def pause_run(run: RunPath, caller: RunController, soma: Soma, body: Control | None = None) -> RunView:
    """Pause: the current action ends and no other one begins."""
    return await service.control(soma, caller, run, "pause", body)


@router.post("/{run}/resume", responses=responses(404, 409))
async def resume_run(run: RunPath, caller: RunController, soma: Soma, body: Control | None = None) -> RunView:
    """Resume after a pause."""
    return await service.control(soma, caller, run, "resume", body)


@router.post("/{run}/cancel", responses=responses(404, 409))
async def cancel_run(run: RunPath, caller: RunController, soma: Soma, body: Control | None = None) -> RunView:
    """Cancel: the container stops and the budget returns."""
    return await service.control(soma, caller, run, "cancel", body)


@router.post("/{run}/messages", status_code=202, responses=responses(404, 409))
async def send_message(run: RunPath, body: MessageText, caller: RunController, soma: Soma) -> RunView:
    """Send a message to the persona; it reads it before its next model call."""
    return await service.send_message(soma, caller, run, InboxMessage(**dict(body), sender=caller.subject))


@router.get("/{run}/receipts", responses=responses(404))
async def list_receipts(
    run: RunPath,
    caller: RunReader,
    soma: Soma,
    after: Annotated[int, Query(ge=0, le=2**53 - 1, description="Sequence number to go on after.")] = 0,
    limit: PageLimit = 100,
) -> ReceiptPage:
    """List the run's receipts: every decision and outcome, each hashed with the one before it."""
    require_own(run, caller)
    async with soma.db.transaction(caller.tenant) as tx:
        await tx.runs.get(run)
        items = tuple(await tx.receipts.list(run, after, limit))
    return ReceiptPage(items=items, next=items[-1].seq if len(items) == limit else None)


@router.get("/{run}/artifacts", responses=responses(404))
async def list_artifacts(run: RunPath, caller: RunReader, soma: Soma) -> Page[ArtifactRecord]:
    """List the run's artifacts; their bytes are at `/v1/artifacts/{digest}`."""
    require_own(run, caller)
    async with soma.db.transaction(caller.tenant) as tx:
        await tx.runs.get(run)
        return Page(items=tuple(await tx.artifacts.list(run)))
