"""Retention and legal holds: how long content is kept, and what is kept whatever that says."""

from typing import Annotated

from fastapi import APIRouter, Path, Response
from pydantic import BaseModel

from api.access import AuditReader, RetentionManager
from api.deps import Soma
from api.middleware.bodies import StorableJsonRoute
from api.middleware.problems import responses
from capsules.base_model import Page
from capsules.retention import DueContent, Hold, NewHold, Retention

router = APIRouter(prefix="/v1/retention", tags=["audit"], route_class=StorableJsonRoute)


class RetentionShown(BaseModel):
    """What is set, and what the next pruning would delete."""

    terms: Retention
    due: DueContent


@router.get("", responses=responses())
async def show_retention(caller: AuditReader, soma: Soma) -> RetentionShown:
    """Show how long content is kept, and what would be deleted now."""
    async with soma.db.transaction(caller.tenant) as tx:
        return RetentionShown(terms=await tx.retention.terms(), due=await tx.retention.due())


@router.put("", responses=responses())
async def set_retention(body: Retention, caller: RetentionManager, soma: Soma) -> RetentionShown:
    """Set how long content is kept. Receipts, ledger, approvals and audit stay: they hold digests, not content."""
    async with soma.db.transaction(caller.tenant) as tx:
        await tx.retention.set(body, by=caller.subject)
        return RetentionShown(terms=body, due=await tx.retention.due())


@router.get("/holds", responses=responses())
async def list_holds(caller: AuditReader, soma: Soma) -> Page[Hold]:
    """List legal holds, those in force first."""
    async with soma.db.transaction(caller.tenant) as tx:
        return Page(items=await tx.retention.holds())


@router.post("/holds", status_code=201, responses=responses())
async def place_hold(body: NewHold, response: Response, caller: RetentionManager, soma: Soma) -> Hold:
    """Keep a tenant's, a capsule's or a run's content until the hold is lifted."""
    async with soma.db.transaction(caller.tenant) as tx:
        placed = await tx.retention.place(body, by=caller.subject)
    response.headers["Location"] = f"/v1/retention/holds/{placed.id}"
    return placed


@router.delete("/holds/{hold}", responses=responses(404, 409))
async def lift_hold(
    hold: Annotated[str, Path(pattern=r"^[0-9a-f]{12}$", examples=["0123456789ab"])],
    caller: RetentionManager,
    soma: Soma,
) -> Hold:
    """Lift a hold. Content whose time is over is deleted at the next pruning."""
    async with soma.db.transaction(caller.tenant) as tx:
        return await tx.retention.lift(hold, by=caller.subject)
