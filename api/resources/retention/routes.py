"""Retention: how long content is kept, and legal holds that keep it longer."""

from typing import Annotated

from fastapi import Path, Response

from api.access import AuditReader, RetentionManager
from api.deps import StateDep
from api.middleware.problems import resource_router, responses
from capsules.base_model import FrozenModel, Page
from capsules.retention import DueContent, Hold, HoldRequest, Retention

router = resource_router("/v1/retention", "audit")


class RetentionResponse(FrozenModel):
    """The retention terms, and what the next pruning deletes."""

    terms: Retention
    due: DueContent


@router.get("")
async def show_retention(caller: AuditReader, state: StateDep) -> RetentionResponse:
    """Show how long content is kept, and what the next pruning deletes."""
    async with state.db.transaction(caller.tenant) as tx:
        return RetentionResponse(terms=await tx.retention.terms(), due=await tx.retention.due())


@router.put("")
async def set_retention(body: Retention, caller: RetentionManager, state: StateDep) -> RetentionResponse:
    """Set how long content is kept. Receipts, ledger, approvals and audit stay: they contain digests, not content."""
    async with state.db.transaction(caller.tenant) as tx:
        await tx.retention.set(body, by=caller.subject)
        return RetentionResponse(terms=body, due=await tx.retention.due())


@router.get("/holds")
async def list_holds(caller: AuditReader, state: StateDep) -> Page[Hold]:
    """List legal holds, those in force first."""
    async with state.db.transaction(caller.tenant) as tx:
        return Page(items=await tx.retention.holds())


@router.post("/holds", status_code=201)
async def place_hold(body: HoldRequest, response: Response, caller: RetentionManager, state: StateDep) -> Hold:
    """Place a legal hold: the content of the tenant, a capsule or a run is kept until the hold is lifted."""
    async with state.db.transaction(caller.tenant) as tx:
        placed = await tx.retention.place(body, by=caller.subject)
    response.headers["Location"] = f"/v1/retention/holds/{placed.id}"
    return placed


@router.delete("/holds/{hold}", responses=responses(404, 409))
async def lift_hold(
    hold: Annotated[str, Path(pattern=r"^[0-9a-f]{12}$", examples=["0123456789ab"])],
    caller: RetentionManager,
    state: StateDep,
) -> Hold:
    """Lift a legal hold. The next pruning deletes the content whose retention has ended."""
    async with state.db.transaction(caller.tenant) as tx:
        return await tx.retention.lift(hold, by=caller.subject)
