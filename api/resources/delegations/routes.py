"""Delegations: a principal lends a capability to another one for a limited time, for approvals only."""

import datetime as dt
from typing import Annotated

from fastapi import Query

from api.access import ApprovalReader, attest, require_held
from api.deps import StateDep
from api.middleware.problems import resource_router, responses
from api.parameters import Cursor, PageLimit, RecordId
from capsules.approvals.delegation import Delegation, DelegationRequest
from capsules.base_model import Page
from capsules.errors import Denied
from capsules.identity.principal import Subject

router = resource_router("/v1/delegations", "approvals")


@router.post("", status_code=201, responses=responses(404))
async def give(body: DelegationRequest, caller: ApprovalReader, state: StateDep) -> Delegation:
    """Delegate a capability that you hold. The delegate can use it for approvals only and cannot delegate it again."""
    require_held(caller, [body.capability], "delegate")
    now = dt.datetime.now(dt.UTC)
    async with state.db.transaction(caller.tenant) as tx:
        prepared = await tx.delegations.prepare(body, by=caller.subject, now=now)
        token = attest(state, caller, "delegate", record=prepared.id, terms=prepared.terms())
        return await tx.delegations.give(prepared, token=token, now=now)


@router.get("")
async def list_delegations(
    caller: ApprovalReader,
    state: StateDep,
    of: Annotated[Subject | None, Query(description="Only delegations from or to this principal.")] = None,
    cursor: Cursor = None,
    limit: PageLimit = 50,
) -> Page[Delegation]:
    """List the tenant's delegations, newest first."""
    async with state.db.transaction(caller.tenant) as tx:
        return await tx.delegations.list(of=of, cursor=cursor, limit=limit)


@router.delete("/{delegation}", responses=responses(404))
async def revoke(delegation: RecordId, caller: ApprovalReader, state: StateDep) -> Delegation:
    """Revoke a delegation that you gave or got. Past decisions stay valid. A repeated call is no error."""
    async with state.db.transaction(caller.tenant) as tx:
        known = await tx.delegations.get(delegation)
        if caller.subject not in {known.delegator, known.delegate} and "principal:manage" not in caller.capabilities:
            raise Denied(
                f"Delegation {delegation!r} is between {known.delegator!r} and {known.delegate!r}: only they, or a "
                "principal with 'principal:manage', can revoke it."
            )
        token = attest(state, caller, "revoke_delegation", record=delegation)
        return await tx.delegations.revoke(delegation, by=caller.subject, token=token, now=dt.datetime.now(dt.UTC))
