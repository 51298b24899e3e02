"""Delegations: one's own capability, lent to somebody for a time, so that approvals do not wait for who is away."""

import datetime as dt
from typing import Annotated

from fastapi import APIRouter, Path, Query

from api.access import ApprovalReader
from api.deps import Cursor, PageLimit, Soma
from api.middleware.bodies import StorableJsonRoute
from api.middleware.problems import responses
from capsules.approvals.delegation import Delegation, DelegationRequest
from capsules.base_model import Page
from capsules.errors import Denied
from capsules.identity.principal import Subject

router = APIRouter(prefix="/v1/delegations", tags=["approvals"], route_class=StorableJsonRoute)

DelegationId = Annotated[
    str, Path(alias="delegation", pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,199}$", examples=["0198c5f0a1b2"])
]


@router.post("", status_code=201, responses=responses(404))
async def give(body: DelegationRequest, caller: ApprovalReader, soma: Soma) -> Delegation:
    """Lend a capability of one's own. It is used for approvals only, and never lent on."""
    if body.capability not in caller.capabilities:
        raise Denied(f"{caller.subject!r} does not hold {body.capability!r} and cannot delegate it.")
    async with soma.db.transaction(caller.tenant) as tx:
        return await tx.delegations.give(body, by=caller.subject, now=dt.datetime.now(dt.UTC))


@router.get("", responses=responses())
async def list_delegations(
    caller: ApprovalReader,
    soma: Soma,
    of: Annotated[Subject | None, Query(description="Only those that this principal gave or got.")] = None,
    cursor: Cursor = None,
    limit: PageLimit = 50,
) -> Page[Delegation]:
    """List the tenant's delegations, newest first."""
    async with soma.db.transaction(caller.tenant) as tx:
        return await tx.delegations.list(of=of, cursor=cursor, limit=limit)


@router.delete("/{delegation}", responses=responses(404))
async def revoke(delegation: DelegationId, caller: ApprovalReader, soma: Soma) -> Delegation:
    """Take a delegation back, or give it back. What was decided by it stays decided; a second time is no error."""
    async with soma.db.transaction(caller.tenant) as tx:
        known = await tx.delegations.get(delegation)
        if caller.subject not in {known.delegator, known.delegate} and "principal:manage" not in caller.capabilities:
            raise Denied(f"Delegation {delegation!r} is between {known.delegator!r} and {known.delegate!r}.")
        return await tx.delegations.revoke(delegation, by=caller.subject, now=dt.datetime.now(dt.UTC))
