"""Tokens: access tokens for at most 15 minutes, refresh tokens that renew them, and token families to end them.

A token never has a capability that the credential which asks for it does not have.
"""

from typing import Annotated

from fastapi import Query, Request

from api.access import Caller, Presented, PrincipalManager
from api.deps import StateDep
from api.middleware.problems import resource_router, responses
from api.parameters import Cursor, PageLimit, RecordId
from api.resources.tokens import service
from api.resources.tokens.schemas import RefreshRequest, TokenRequest, TokenResponse
from capsules.base_model import Page
from capsules.identity.principal import Subject
from capsules.identity.records import TokenFamily

router = resource_router("/v1/tokens", "identity")
SubjectFilter = Annotated[Subject | None, Query(description="Only those of this principal.")]


@router.post("", status_code=201, responses=responses(409))
async def make_token(
    request: Request, body: TokenRequest, caller: Caller, presented: Presented, state: StateDep
) -> TokenResponse:
    """Mint a token for yourself, with at most your capabilities and at most the life of your token."""
    return await service.mint(state, caller, presented, body, request.scope)


@router.post("/refresh")
async def renew_token(request: Request, body: RefreshRequest, state: StateDep) -> TokenResponse:
    """Exchange a refresh token for a new access token and the next refresh token. Used twice, it ends its family."""
    return await service.renew(state, body.refresh_token, request.scope)


@router.get("")
async def list_families(
    caller: PrincipalManager, state: StateDep, of: SubjectFilter = None, cursor: Cursor = None, limit: PageLimit = 50
) -> Page[TokenFamily]:
    """List the tenant's token families, newest first."""
    async with state.db.transaction(caller.tenant) as tx:
        return await tx.token_families.page(of, cursor, limit)


@router.delete("/self", status_code=204)
async def sign_out(caller: Caller, presented: Presented, state: StateDep) -> None:
    """End the token family of your token, with all tokens of it. An API key is ended by `DELETE /v1/keys/{key}`."""
    await service.sign_out(state, caller, presented)


@router.delete("/{family}", responses=responses(404))
async def revoke_family(family: RecordId, caller: PrincipalManager, state: StateDep) -> TokenFamily:
    """Revoke a token family, with all tokens of it and all families opened from it. A repeated call is no error."""
    async with state.db.transaction(caller.tenant) as tx:
        return await tx.token_families.end(family, by=caller.subject, reason="revoked")
