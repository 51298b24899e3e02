"""Standing grants: a yes in advance, given only for a scope that is proved to lie within the active constitution.

The proof says that no action of the scope is denied in an ordinary run, and that each one that is asked about asks only
for what the granter may decide. So a grant spares a person's time and never widens what may happen.
"""

import asyncio
import datetime as dt
from typing import Annotated

from fastapi import APIRouter, Path, Query

from api.access import ApprovalReader, StandingApprover
from api.deps import Cursor, PageLimit, Soma, State
from api.middleware.bodies import StorableJsonRoute
from api.middleware.problems import responses
from capsules.approvals.standing_grant import GrantRequest, GrantState, StandingGrant
from capsules.base_model import Page
from capsules.digest import Digest
from capsules.errors import Denied, Invalid
from capsules.identity.principal import Principal
from policy.decide.standing_grants import prove_scope

router = APIRouter(prefix="/v1/standing-grants", tags=["approvals"], route_class=StorableJsonRoute)

GrantId = Annotated[str, Path(alias="grant", pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,199}$", examples=["0198c5f0a1b2"])]


@router.post("", status_code=201, responses=responses(409))
async def give(body: GrantRequest, caller: StandingApprover, soma: Soma) -> StandingGrant:
    """Approve a number of actions of a scope in advance. Refused, with a counterexample, unless the scope is proved."""
    _require_held(caller, body.capability)
    constitution = await _proved(soma, caller, body.scope, body.capability)
    async with soma.db.transaction(caller.tenant) as tx:
        return await tx.standing_grants.give(
            body, constitution=constitution, by=caller.subject, now=dt.datetime.now(dt.UTC)
        )


@router.get("", responses=responses())
async def list_grants(
    caller: ApprovalReader,
    soma: Soma,
    state: Annotated[GrantState | None, Query(description="Only those in this state.")] = None,
    cursor: Cursor = None,
    limit: PageLimit = 50,
) -> Page[StandingGrant]:
    """List standing grants, newest first."""
    async with soma.db.transaction(caller.tenant) as tx:
        return await tx.standing_grants.list(state=state, cursor=cursor, limit=limit)


@router.get("/{grant}", responses=responses(404))
async def show_grant(grant: GrantId, caller: ApprovalReader, soma: Soma) -> StandingGrant:
    """Show a standing grant and what is left of it."""
    async with soma.db.transaction(caller.tenant) as tx:
        return await tx.standing_grants.get(grant)


@router.post("/{grant}/prove", responses=responses(404, 409))
async def prove_again(grant: GrantId, caller: StandingApprover, soma: Soma) -> StandingGrant:
    """Prove the scope of one's own open grant under the constitution now in force, under which it then counts."""
    async with soma.db.transaction(caller.tenant) as tx:
        known = await tx.standing_grants.get(grant)
    if known.granted_by != caller.subject:
        raise Denied(f"The standing grant {grant!r} is of {known.granted_by!r}; give one of your own.", grant=grant)
    _require_held(caller, known.capability)
    constitution = await _proved(soma, caller, known.scope, known.capability)
    async with soma.db.transaction(caller.tenant) as tx:
        return await tx.standing_grants.rebind(grant, constitution=constitution, by=caller.subject)


@router.delete("/{grant}", responses=responses(404))
async def revoke(grant: GrantId, caller: StandingApprover, soma: Soma) -> StandingGrant:
    """Revoke any grant of the tenant. Actions that began under it continue. A repeated call is no error."""
    async with soma.db.transaction(caller.tenant) as tx:
        return await tx.standing_grants.revoke(grant, by=caller.subject, now=dt.datetime.now(dt.UTC))


def _require_held(caller: Principal, capability: str) -> None:
    if capability not in caller.capabilities:
        raise Denied(
            f"A standing grant stands for a capability that you hold; {caller.subject!r} lacks {capability!r}.",
            capability=capability,
        )


async def _proved(soma: State, caller: Principal, scope: str, capability: str) -> Digest:
    """Return the digest of the tenant's active constitution once the scope is proved under it."""
    active = (await soma.db.constitutions.active(caller.tenant)).digest
    policy = await soma.policies.get(active)
    # The prover is a C library that holds its thread for seconds.
    proof = await asyncio.to_thread(prove_scope, policy, scope, capability=capability)
    if proof.outcome != "proved":
        raise Invalid(
            f"This scope is {proof.outcome}, so it was not granted: {proof.sentence}",
            problems=[{"path": "body.scope", "message": proof.sentence}],
            outcome=proof.outcome,
            constitution=active,
            witnesses=[witness.model_dump(mode="json") for witness in proof.witnesses],
        )
    return active
