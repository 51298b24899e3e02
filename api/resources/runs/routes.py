"""Runs: list, show, ask, steer, and what they leave: receipts and artifacts. Starting one is a capsule's business."""

import uuid
from datetime import datetime
from typing import Annotated, Self

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from api.access import RunController, RunReader
from api.deps import Cursor, Limit, Soma, State
from api.middleware.bodies import StorableJsonRoute
from api.middleware.problems import responses
from api.resources.audit.service import audited
from api.run_urls import REFERENCE, RunPath, require_own
from api.temporal import query, update
from capsules.audit.receipt import Receipt
from capsules.budgets.amounts import Amounts
from capsules.digest import digest
from capsules.errors import Conflict
from capsules.read_models import ArtifactRecord, Page, Principal, RunRecord
from capsules.runs.run import TERMINAL, Control, InboxMessage, RunStatus, RunView

router = APIRouter(prefix="/v1/runs", tags=["runs"], route_class=StorableJsonRoute)


class RunSummary(BaseModel):
    """A run as lists show it: everything but its inputs and output."""

    model_config = ConfigDict(frozen=True, from_attributes=True)

    id: str
    capsule: str
    actor: str
    parent: str | None
    status: RunStatus
    reason: str
    step: int
    spent: Amounts
    created_at: datetime
    updated_at: datetime
    closed_at: datetime | None

    @classmethod
    def of(cls, run: RunRecord) -> Self:
        return cls.model_validate(run)


class ReceiptPage(BaseModel):
    """A part of a run's receipt chain."""

    items: tuple[Receipt, ...]
    next: int | None = Field(None, description="`after` of the following part.")


class MessageText(BaseModel):
    """A person's words to the running persona."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"text": "Keep it under ten lines."}]})

    id: str = Field(
        default_factory=lambda: uuid.uuid4().hex,
        min_length=1,
        max_length=100,
        description="The same id twice is one message.",
    )
    text: str = Field(min_length=1, max_length=8000)


@router.get("", responses=responses())
async def list_runs(  # noqa: PLR0913, PLR0917 - a parameter for each filter
    caller: RunReader,
    soma: Soma,
    cursor: Cursor = None,
    limit: Limit = 50,
    status: Annotated[RunStatus | None, Query(description="Only runs in this status.")] = None,
    capsule: Annotated[
        str | None, Query(pattern=REFERENCE, max_length=160, description="Only runs of this capsule.")
    ] = None,
) -> Page[RunSummary]:
    """List the tenant's runs, newest first."""
    async with soma.store.transaction(caller.tenant) as tx:
        page = await tx.runs.list(cursor, limit, status=status, capsule=capsule)
    return Page(items=tuple(RunSummary.of(run) for run in page.items), next=page.next)


@router.get("/{run}", responses=responses(404))
async def show_run(run: RunPath, caller: RunReader, soma: Soma) -> RunRecord:
    """Show a run as the store has it: status, inputs, deliverable, spent."""
    return await known(soma, caller, run)


@router.get("/{run}/state", responses=responses(404, 409))
async def show_state(run: RunPath, caller: RunReader, soma: Soma) -> RunView:
    """Ask the run itself: step, waiting approvals, last steps. Needs a worker; the run shown at `/{run}` does not."""
    await known(soma, caller, run)
    return await query(soma.temporal, run, "state", answer=RunView)


@router.post("/{run}/pause", responses=responses(404, 409))
async def pause_run(run: RunPath, caller: RunController, soma: Soma, body: Control | None = None) -> RunView:
    """Let the action under way end and start no other."""
    return await _control(soma, caller, run, "pause", body)


@router.post("/{run}/resume", responses=responses(404, 409))
async def resume_run(run: RunPath, caller: RunController, soma: Soma, body: Control | None = None) -> RunView:
    """Go on after a pause."""
    return await _control(soma, caller, run, "resume", body)


@router.post("/{run}/cancel", responses=responses(404, 409))
async def cancel_run(run: RunPath, caller: RunController, soma: Soma, body: Control | None = None) -> RunView:
    """End the run: its container is stopped, its budget returned."""
    return await _control(soma, caller, run, "cancel", body)


@router.post("/{run}/messages", status_code=202, responses=responses(404, 409))
async def send_message(run: RunPath, body: MessageText, caller: RunController, soma: Soma) -> RunView:
    """Say something to the running persona; it reads it before its next thought."""
    await _open(soma, caller, run)
    message = InboxMessage(id=body.id, text=body.text, sender=caller.subject)
    async with audited(soma, caller, "run.told", run, message=body.id, text=digest(body.text)):
        return await update(soma.temporal, run, "message", message, key=f"message/{body.id}", answer=RunView)


@router.get("/{run}/receipts", responses=responses(404))
async def list_receipts(
    run: RunPath,
    caller: RunReader,
    soma: Soma,
    after: Annotated[int, Query(ge=0, le=2**53 - 1, description="Sequence number to go on after.")] = 0,
    limit: Limit = 100,
) -> ReceiptPage:
    """List the run's receipts: every decision and outcome, each hashed over the one before it."""
    require_own(run, caller)
    async with soma.store.transaction(caller.tenant) as tx:
        await tx.runs.get(run)
        items = tuple(await tx.receipts.list(run, after, limit))
    return ReceiptPage(items=items, next=items[-1].seq if len(items) == limit else None)


@router.get("/{run}/artifacts", responses=responses(404))
async def list_artifacts(run: RunPath, caller: RunReader, soma: Soma) -> Page[ArtifactRecord]:
    """List what the run handed over; the bytes are at `/v1/artifacts/{digest}`."""
    require_own(run, caller)
    async with soma.store.transaction(caller.tenant) as tx:
        await tx.runs.get(run)
        return Page(items=tuple(await tx.artifacts.list(run)))


async def known(soma: State, caller: Principal, run: str) -> RunRecord:
    """Return the caller's run. Raises NotFound for any other."""
    require_own(run, caller)
    async with soma.store.transaction(caller.tenant) as tx:
        return await tx.runs.get(run)


async def _open(soma: State, caller: Principal, run: str) -> RunRecord:
    record = await known(soma, caller, run)
    if record.status in TERMINAL:
        raise Conflict(f"Run {run!r} has ended: it is {record.status}.", run=run, status=record.status)
    return record


async def _control(soma: State, caller: Principal, run: str, name: str, body: Control | None) -> RunView:
    await _open(soma, caller, run)
    said = body or Control()
    async with audited(soma, caller, f"run.{name}", run, reason=said.reason):
        return await update(soma.temporal, run, name, said, key=None, answer=RunView)
