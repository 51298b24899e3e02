"""Tokens and principals: mint a token with fewer capabilities or a shorter life, and add principals with API keys.

A token and an API key never have a capability that the caller who creates them does not have.
"""

from fastapi import Request

from api.access import Caller, PrincipalManager
from api.deps import StateDep
from api.middleware.problems import resource_router, responses
from api.resources.tokens import service
from api.resources.tokens.schemas import PrincipalRequest, PrincipalResponse, TokenRequest, TokenResponse
from capsules.base_model import Page
from capsules.identity.principal import Principal

router = resource_router("/v1", "identity")


@router.post("/tokens", status_code=201)
async def make_token(request: Request, body: TokenRequest, caller: Caller, state: StateDep) -> TokenResponse:
    """Mint a token for yourself, with at most your capabilities and at most the life of your token."""
    return await service.mint(state, caller, body, request.headers["authorization"].partition(" ")[2].strip())


@router.get("/principals/self")
async def who_am_i(caller: Caller) -> Principal:
    """Show the principal of the token."""
    return caller


@router.get("/principals")
async def list_principals(caller: PrincipalManager, state: StateDep) -> Page[Principal]:
    """List the tenant's principals."""
    async with state.db.transaction(caller.tenant) as tx:
        return Page(items=tuple(await tx.principals.list()))


@router.post("/principals", status_code=201, responses=responses(409))
async def add_principal(body: PrincipalRequest, caller: PrincipalManager, state: StateDep) -> PrincipalResponse:
    """Add a principal with an API key. A name that exists is a conflict: a second key would act in its name."""
    return await service.add_principal(state, caller, body)
