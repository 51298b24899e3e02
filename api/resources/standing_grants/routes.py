"""Standing grants: approvals in advance, for a scope that is proved to lie within the active constitution.

The proof shows that the constitution denies no action of the scope in an ordinary run, and that each action that needs
an approval needs only the granter's capability. So a grant saves time and never allows more than the constitution.
"""

import datetime as dt
from typing import Annotated

from fastapi import Query

from api.access import ApprovalReader, StandingApprover, attest
from api.deps import StateDep
from api.middleware.problems import resource_router, responses
from api.parameters import Cursor, PageLimit, RecordId
from api.resources.standing_grants import service
from capsules.approvals.standing_grant import GrantRequest, GrantState, StandingGrant
from capsules.base_model import Page

router = resource_router("/v1/standing-grants", "approvals")


@router.post("", status_code=201, responses=responses(409))
async def give(body: GrantRequest, caller: StandingApprover, state: StateDep) -> StandingGrant:
    """Approve a number of actions of a scope in advance. Refused, with a counterexample, unless the scope is proved."""
    return await service.give(state, caller, body)


@router.get("")
async def list_grants(
    caller: ApprovalReader,
    state: StateDep,
    wanted: Annotated[GrantState | None, Query(alias="state", description="Only grants in this state.")] = None,
    cursor: Cursor = None,
    limit: PageLimit = 50,
) -> Page[StandingGrant]:
    """List standing grants, newest first."""
    async with state.db.transaction(caller.tenant) as tx:
        return await tx.standing_grants.list(state=wanted, cursor=cursor, limit=limit)


@router.get("/{grant}", responses=responses(404))
async def show_grant(grant: RecordId, caller: ApprovalReader, state: StateDep) -> StandingGrant:
    """Show a standing grant and the number of uses left."""
    async with state.db.transaction(caller.tenant) as tx:
        return await tx.standing_grants.get(grant)


@router.post("/{grant}/prove", responses=responses(404, 409))
async def prove_again(grant: RecordId, caller: StandingApprover, state: StateDep) -> StandingGrant:
    """Prove the scope of your own open grant again, under the constitution in force. The grant then counts under it."""
    return await service.prove_again(state, caller, grant)


@router.delete("/{grant}", responses=responses(404))
async def revoke(grant: RecordId, caller: StandingApprover, state: StateDep) -> StandingGrant:
    """Revoke a grant of the tenant. Actions that began under it continue. A repeated call is no error."""
    async with state.db.transaction(caller.tenant) as tx:
        token = attest(state, caller, "revoke_grant", record=grant)
        return await tx.standing_grants.revoke(grant, by=caller.subject, token=token, now=dt.datetime.now(dt.UTC))
