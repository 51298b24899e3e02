"""Work of the token and principal routes: mint a token, add a principal."""

import time

from api.access import require_held
from api.audit_entries import audited_change
from api.deps import State
from api.resources.tokens.schemas import PrincipalRequest, PrincipalResponse, TokenRequest, TokenResponse
from capsules.errors import Conflict
from capsules.identity.principal import Principal
from somagent.identity.api_keys import PREFIX, new_key


async def mint(state: State, caller: Principal, request: TokenRequest, credential: str) -> TokenResponse:
    """Mint a token for the caller. It never lives longer than `credential`, if that is a token. Raises Denied."""
    capabilities = caller.capabilities if request.capabilities is None else frozenset(request.capabilities)
    require_held(caller, capabilities, "pass on")
    principal = Principal(tenant=caller.tenant, subject=caller.subject, capabilities=capabilities)
    expires_at = int(time.time()) + request.seconds
    if not credential.startswith(PREFIX):
        expires_at = min(expires_at, state.tokens.expiry(credential))
    details = {"capabilities": sorted(capabilities), "expires_at": expires_at}
    async with audited_change(state, caller, "token.minted", caller.subject, **details):
        token = state.tokens.mint_access(principal, expires_at - int(time.time()))
    return TokenResponse(token=token, expires_at=state.tokens.expiry(token), principal=principal)


async def add_principal(state: State, caller: Principal, request: PrincipalRequest) -> PrincipalResponse:
    """Add a principal with an API key. Raises Denied, or Conflict when the name is in use."""
    require_held(caller, request.capabilities, "pass on")
    principal = Principal(tenant=caller.tenant, subject=request.subject, capabilities=frozenset(request.capabilities))
    key = new_key(caller.tenant)
    async with state.db.transaction(caller.tenant) as tx:
        await tx.audit.set_actor(caller.subject)
        if any(known.subject == request.subject for known in await tx.principals.list()):
            raise Conflict(
                f"There is a principal {request.subject!r} already. Use another name.", subject=request.subject
            )
        await tx.principals.add(principal, key.hash)
    return PrincipalResponse(principal=principal, key=key.text)
