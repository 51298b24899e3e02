"""Work of the principal routes."""

from api.access import require_held
from api.deps import State
from api.resources.keys.service import issue
from api.resources.principals.schemas import PrincipalRequest, PrincipalResponse
from capsules.errors import Conflict
from capsules.identity.principal import Principal
from capsules.identity.records import IdentityState, PrincipalRecord

SELF = "self"
"""In paths the caller, so no principal's name."""


async def add_principal(state: State, caller: Principal, request: PrincipalRequest) -> PrincipalResponse:
    """Add a principal with an API key. Raises Denied, or Conflict when the name is in use."""
    require_held(caller, request.capabilities, "pass on")
    principal = Principal(tenant=caller.tenant, subject=request.subject, capabilities=frozenset(request.capabilities))
    async with state.db.transaction(caller.tenant) as tx:
        await tx.audit.set_actor(caller.subject)
        if request.subject == SELF or await tx.principals.find(request.subject) is not None:
            raise Conflict(
                f"There is a principal {request.subject!r} already. Use another name.", subject=request.subject
            )
        await tx.principals.add(principal, sign=state.tokens.sign_record)
        record, key = await issue(tx, state.tokens, request.subject)
    return PrincipalResponse(principal=principal, key=key, key_id=record.id)


async def set_capabilities(
    state: State, caller: Principal, subject: str, capabilities: frozenset[str]
) -> PrincipalRecord:
    """Set the capabilities of a principal. Raises NotFound, Denied for a new one that the caller lacks, Conflict."""
    async with state.db.transaction(caller.tenant) as tx:
        await tx.audit.set_actor(caller.subject)
        known = await tx.principals.get(subject)
        require_held(caller, capabilities - known.capabilities, "give")
        changed = Principal(tenant=caller.tenant, subject=subject, capabilities=capabilities)
        await tx.principals.add(changed, sign=state.tokens.sign_record)
        return await tx.principals.get(subject)


async def set_state(state: State, caller: Principal, subject: str, wanted: IdentityState) -> PrincipalRecord:
    """Change the state of a principal. Raises NotFound, or Conflict when it is revoked or the caller itself."""
    if subject == caller.subject and wanted != "active":
        raise Conflict("You would lock yourself out. Ask another principal with 'principal:manage'.", subject=subject)
    async with state.db.transaction(caller.tenant) as tx:
        await tx.audit.set_actor(caller.subject)
        return await tx.principals.set_state(subject, wanted, by=caller.subject, sign=state.tokens.sign_record)


async def rotate(state: State, caller: Principal, subject: str) -> PrincipalResponse:
    """Revoke every key and token of a principal and issue one key.

    Raises NotFound, Conflict when it is not active, Denied when it holds what the caller, who sees the key, lacks.
    """
    async with state.db.transaction(caller.tenant) as tx:
        await tx.audit.set_actor(caller.subject)
        known = await tx.principals.get(subject)
        if subject != caller.subject:
            require_held(caller, known.capabilities, "issue a key for")
        await tx.token_families.end_all(subject, by=caller.subject, reason="rotated")
        record, key = await issue(tx, state.tokens, subject)
    return PrincipalResponse(principal=known, key=key, key_id=record.id)
