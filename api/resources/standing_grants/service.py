"""Work of the standing grant routes: prove the scope of a grant, and record the grant."""

import asyncio
import datetime as dt
import uuid

from api.access import attest, require_held
from api.deps import State
from capsules.approvals.standing_grant import GrantRequest, StandingGrant
from capsules.digest import Digest
from capsules.errors import Denied, Invalid
from capsules.identity.principal import Principal
from policy.decide.standing_grants import prove_scope
from somagent.identity.proofs import GrantRow


async def give(state: State, caller: Principal, request: GrantRequest) -> StandingGrant:
    """Record a grant of the caller. Raises Denied without the capability, Invalid when the scope is not proved."""
    require_held(caller, [request.capability], "grant")
    constitution = await _prove(state, caller, request.scope, request.capability)
    now = dt.datetime.now(dt.UTC)
    row = GrantRow(
        id=uuid.uuid4().hex,
        constitution=constitution,
        granted_by=caller.subject,
        expires_at=now + dt.timedelta(seconds=request.expires_seconds),
        **request.model_dump(exclude={"expires_seconds"}),
    )
    token = attest(state, caller, "grant", record=row.id, terms=row.terms())
    async with state.db.transaction(caller.tenant) as tx:
        return await tx.standing_grants.give(row, token=token, now=now)


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
    row = GrantRow.model_validate(grant.model_dump() | {"constitution": constitution})
    token = attest(state, caller, "grant", record=grant_id, terms=row.terms())
    async with state.db.transaction(caller.tenant) as tx:
        return await tx.standing_grants.rebind(grant_id, constitution=constitution, by=caller.subject, token=token)


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
