"""Work of the standing grant routes: prove the scope of a grant, and record the grant."""

import asyncio
import datetime as dt

from api.access import require_held
from api.deps import State
from capsules.approvals.standing_grant import GrantRequest, StandingGrant
from capsules.digest import Digest
from capsules.errors import Denied, Invalid
from capsules.identity.principal import Principal
from policy.decide.standing_grants import prove_scope


async def give(state: State, caller: Principal, request: GrantRequest) -> StandingGrant:
    """Record a grant of the caller. Raises Denied without the capability, Invalid when the scope is not proved."""
    require_held(caller, [request.capability], "grant")
    constitution = await _prove(state, caller, request.scope, request.capability)
    async with state.db.transaction(caller.tenant) as tx:
        return await tx.standing_grants.give(
            request, constitution=constitution, by=caller.subject, now=dt.datetime.now(dt.UTC)
        )


async def prove_again(state: State, caller: Principal, grant_id: str) -> StandingGrant:
    """Prove the caller's own grant under the constitution in force. Raises NotFound, Denied, Conflict or Invalid."""
    async with state.db.transaction(caller.tenant) as tx:
        grant = await tx.standing_grants.get(grant_id)
    if grant.granted_by != caller.subject:
        raise Denied(
            f"Only {grant.granted_by!r}, who gave the standing grant {grant_id!r}, can prove it. Give one of your own.",
            grant=grant_id,
        )
    require_held(caller, [grant.capability], "grant")
    constitution = await _prove(state, caller, grant.scope, grant.capability)
    async with state.db.transaction(caller.tenant) as tx:
        return await tx.standing_grants.rebind(grant_id, constitution=constitution, by=caller.subject)


async def _prove(state: State, caller: Principal, scope: str, capability: str) -> Digest:
    """Prove the scope under the tenant's active constitution and return its digest."""
    active = (await state.db.constitutions.active(caller.tenant)).digest
    policy = await state.policies.get(active)
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
