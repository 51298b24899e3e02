"""Tokens and principals: a narrower, shorter token of one's own, and programs with API keys.

Nobody can hand out what they do not hold: a token's and a key's capabilities are some of the caller's.
"""

import time

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field

from api.access import Caller, PrincipalManager
from api.deps import Soma
from api.middleware.bodies import StorableJsonRoute
from api.middleware.problems import responses
from api.resources.audit.service import audited
from capsules.base_model import Page, StrictModel
from capsules.errors import Conflict, Denied
from capsules.identity.principal import Principal, Subject
from somagent.identity.api_keys import PREFIX, new_key
from somagent.identity.capabilities import Capability, Role

router = APIRouter(prefix="/v1", tags=["identity"], route_class=StorableJsonRoute)

LONGEST_SECONDS = 30 * 86_400


class TokenRequest(StrictModel):
    """What the new token may do and for how long; never more than the one that asks."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"capabilities": ["run:read"], "seconds": 900}]})

    capabilities: frozenset[Capability | Role] | None = Field(None, description="Unset: all of the caller's.")
    seconds: int = Field(3600, ge=1, le=LONGEST_SECONDS)


class TokenMade(BaseModel):
    token: str
    expires_at: int = Field(description="Unix seconds.")
    principal: Principal


class PrincipalRequest(StrictModel):
    """A program or person to be known by an API key."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"subject": "ci", "capabilities": ["capsule:run"]}]})

    subject: Subject
    capabilities: frozenset[Capability | Role] = Field(min_length=1)


class PrincipalMade(BaseModel):
    principal: Principal
    key: str = Field(description="The API key. Shown this once; only its hash is kept.")


@router.post("/tokens", status_code=201, responses=responses())
async def make_token(request: Request, body: TokenRequest, caller: Caller, soma: Soma) -> TokenMade:
    """Mint a token for oneself: as much or less, as long or shorter."""
    wanted = caller.capabilities if body.capabilities is None else frozenset(body.capabilities)
    _require_held(caller, wanted)
    principal = Principal(tenant=caller.tenant, subject=caller.subject, capabilities=wanted)
    presented = request.headers["authorization"].partition(" ")[2].strip()
    expires = int(time.time()) + body.seconds
    if not presented.startswith(PREFIX):
        expires = min(expires, soma.tokens.expiry(presented))
    async with audited(soma, caller, "token.minted", caller.subject, capabilities=sorted(wanted), expires_at=expires):
        token = soma.tokens.mint_access(principal, expires - int(time.time()))
    return TokenMade(token=token, expires_at=soma.tokens.expiry(token), principal=principal)


@router.get("/principals/self", responses=responses())
async def who_am_i(caller: Caller) -> Principal:
    """Show who the token says that the caller is."""
    return caller


@router.get("/principals", responses=responses())
async def list_principals(caller: PrincipalManager, soma: Soma) -> Page[Principal]:
    """List the tenant's principals."""
    async with soma.db.transaction(caller.tenant) as tx:
        return Page(items=tuple(await tx.principals.list()))


@router.post("/principals", status_code=201, responses=responses(409))
async def add_principal(body: PrincipalRequest, caller: PrincipalManager, soma: Soma) -> PrincipalMade:
    """Add a principal with an API key. A known name is a conflict: a second key would speak in its name."""
    _require_held(caller, frozenset(body.capabilities))
    principal = Principal(tenant=caller.tenant, subject=body.subject, capabilities=frozenset(body.capabilities))
    key = new_key(caller.tenant)
    async with soma.db.transaction(caller.tenant) as tx:
        await tx.audit.set_actor(caller.subject)
        if any(known.subject == body.subject for known in await tx.principals.list()):
            raise Conflict(f"There is a principal {body.subject!r} already.", subject=body.subject)
        await tx.principals.add(principal, key.hash)
    return PrincipalMade(principal=principal, key=key.text)


def _require_held(caller: Principal, wanted: frozenset[str]) -> None:
    beyond = sorted(wanted - caller.capabilities)
    if beyond:
        raise Denied(f"{caller.subject!r} does not hold {', '.join(beyond)} and cannot give it away.", beyond=beyond)
