"""Who calls, and what an endpoint asks of them: the capability stands in the endpoint's signature.

    async def start_run(..., caller: CapsuleRunner): ...

The tenant comes from the token and from nowhere else.
"""

from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from api.deps import State
from capsules.errors import Denied, SomaError, Unauthenticated
from capsules.read_models import Principal
from somagent.identity.api_keys import PREFIX, parse_key
from somagent.identity.capabilities import Capability

BEARER = HTTPBearer(
    scheme_name="bearer", bearerFormat="JWT or API key", description="An access token or an API key.", auto_error=False
)
Presented = Annotated[HTTPAuthorizationCredentials | None, Security(BEARER)]


async def authenticate(state: State, header: str) -> Principal:
    """Return who presents this Authorization header. Raises Unauthenticated."""
    scheme, _, credential = header.partition(" ")
    if scheme.lower() != "bearer" or not credential.strip():
        raise Unauthenticated("Send the token as: Authorization: Bearer <token>.")
    credential = credential.strip()
    if not credential.startswith(PREFIX):
        return state.tokens.verify_access(credential)
    key = parse_key(credential)
    async with state.store.transaction(key.tenant) as tx:
        principal = await tx.principals.by_key_hash(key.hash)
    if principal is None:
        raise Unauthenticated(f"The API key {key.id!r} is not known or was removed.")
    return principal


async def _caller(request: Request, presented: Presented) -> Principal:
    del presented  # declares the scheme in the OpenAPI document; the rate limit has read the header already
    found: Principal | SomaError | None = request.scope.get("somagent.caller")
    if isinstance(found, SomaError):
        raise found
    if found is None:
        raise Unauthenticated("This needs a token: Authorization: Bearer <token>.")
    return found


Caller = Annotated[Principal, Depends(_caller)]
"""Anybody with a valid token."""


class Holder:
    """A dependency that gives the caller when they hold a capability."""

    def __init__(self, capability: Capability) -> None:
        self.capability = capability

    async def __call__(self, caller: Caller) -> Principal:
        if self.capability not in caller.capabilities:
            have = ", ".join(sorted(caller.capabilities)) or "none"
            raise Denied(
                f"This needs the capability {self.capability!r}; {caller.subject!r} has: {have}.",
                capability=self.capability,
            )
        return caller


CapsulePublisher = Annotated[Principal, Depends(Holder("capsule:publish"))]
CapsuleReader = Annotated[Principal, Depends(Holder("capsule:read"))]
CapsuleRunner = Annotated[Principal, Depends(Holder("capsule:run"))]
RunReader = Annotated[Principal, Depends(Holder("run:read"))]
RunController = Annotated[Principal, Depends(Holder("run:control"))]
ApprovalReader = Annotated[Principal, Depends(Holder("approval:read"))]
StandingApprover = Annotated[Principal, Depends(Holder("approval:standing"))]
Scheduler = Annotated[Principal, Depends(Holder("schedule:manage"))]
BudgetReader = Annotated[Principal, Depends(Holder("budget:read"))]
BudgetRaiser = Annotated[Principal, Depends(Holder("budget:raise"))]
PolicyReader = Annotated[Principal, Depends(Holder("policy:read"))]
ConstitutionProposer = Annotated[Principal, Depends(Holder("constitution:propose"))]
ConstitutionApprover = Annotated[Principal, Depends(Holder("constitution:approve"))]
ConstitutionRevoker = Annotated[Principal, Depends(Holder("constitution:revoke"))]
AuditReader = Annotated[Principal, Depends(Holder("audit:read"))]
RetentionManager = Annotated[Principal, Depends(Holder("retention:manage"))]
PrincipalManager = Annotated[Principal, Depends(Holder("principal:manage"))]
