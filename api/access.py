"""Access control: authentication, and the capability that an endpoint requires as the type of a parameter.

    async def start_run(..., caller: CapsuleRunner): ...

The tenant is always the token's.
"""

from collections.abc import Iterable
from typing import Annotated, Any

from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from api.deps import State
from capsules.errors import Denied, SomaError, Unauthenticated
from capsules.identity.principal import Principal
from somagent.identity.api_keys import PREFIX, parse_key
from somagent.identity.capabilities import Capability
from somagent.identity.tokens import Attestation, AttestationPurpose

BEARER = HTTPBearer(
    scheme_name="bearer", bearerFormat="JWT or API key", description="An access token or an API key.", auto_error=False
)
BearerHeader = Annotated[HTTPAuthorizationCredentials | None, Security(BEARER)]


async def authenticate(state: State, header: str) -> Principal:
    """Return the principal of an Authorization header. Raises Unauthenticated when the token or key is not valid."""
    scheme, _, credential = header.partition(" ")
    if scheme.lower() != "bearer" or not credential.strip():
        raise Unauthenticated("The Authorization header has no token. Send it as: Authorization: Bearer <token>.")
    credential = credential.strip()
    if not credential.startswith(PREFIX):
        return state.tokens.verify_access(credential)
    key = parse_key(credential)
    async with state.db.transaction(key.tenant) as tx:
        principal = await tx.principals.by_key_hash(key.hash)
    if principal is None:
        raise Unauthenticated(f"The API key {key.id!r} is not known or was removed. Ask for a new one.")
    return principal


async def _caller(request: Request, presented: BearerHeader) -> Principal:
    del presented  # declares the scheme in the OpenAPI document; the middleware RequestRateLimit has read the header
    found: Principal | SomaError | None = request.scope.get("somagent.caller")
    if isinstance(found, SomaError):
        raise found
    if found is None:
        raise Unauthenticated("This endpoint needs a token. Send it as: Authorization: Bearer <token>.")
    return found


Caller = Annotated[Principal, Depends(_caller)]
"""Any principal with a valid token."""


def attest(
    state: State,
    caller: Principal,
    purpose: AttestationPurpose,
    run: str | None = None,
    *,
    seconds: int = 300,
    **claims: Any,  # noqa: ANN401
) -> str:
    """Return a signed attestation of the caller's decision, about one run or record. It is valid for `seconds`."""
    said = {"tenant": caller.tenant, "subject": caller.subject, "capabilities": caller.capabilities}
    return state.tokens.mint_attestation(Attestation(**said | {"purpose": purpose, "run": run} | claims), seconds)


def require_capability(caller: Principal, capability: str) -> None:
    """Raise Denied unless the caller has the capability."""
    if capability not in caller.capabilities:
        have = ", ".join(sorted(caller.capabilities)) or "none"
        raise Denied(
            f"This needs the capability {capability!r}; {caller.subject!r} has: {have}.", capability=capability
        )


def require_held(caller: Principal, capabilities: Iterable[str], verb: str) -> None:
    """Raise Denied when the caller wants to give, grant or delegate a capability that they do not have."""
    if beyond := sorted(set(capabilities) - caller.capabilities):
        raise Denied(
            f"{caller.subject!r} does not hold {', '.join(map(repr, beyond))} and cannot {verb} it.",
            capability=beyond[0],
            beyond=beyond,
        )


class RequireCapability:
    """Dependency that returns the caller. Raises Denied without the capability."""

    def __init__(self, capability: Capability) -> None:
        self.capability = capability

    async def __call__(self, caller: Caller) -> Principal:
        require_capability(caller, self.capability)
        return caller


CapsulePublisher = Annotated[Principal, Depends(RequireCapability("capsule:publish"))]
CapsuleReader = Annotated[Principal, Depends(RequireCapability("capsule:read"))]
CapsuleRunner = Annotated[Principal, Depends(RequireCapability("capsule:run"))]
RunReader = Annotated[Principal, Depends(RequireCapability("run:read"))]
RunController = Annotated[Principal, Depends(RequireCapability("run:control"))]
ApprovalReader = Annotated[Principal, Depends(RequireCapability("approval:read"))]
StandingApprover = Annotated[Principal, Depends(RequireCapability("approval:standing"))]
Scheduler = Annotated[Principal, Depends(RequireCapability("schedule:manage"))]
BudgetReader = Annotated[Principal, Depends(RequireCapability("budget:read"))]
BudgetRaiser = Annotated[Principal, Depends(RequireCapability("budget:raise"))]
PolicyReader = Annotated[Principal, Depends(RequireCapability("policy:read"))]
ConstitutionProposer = Annotated[Principal, Depends(RequireCapability("constitution:propose"))]
ConstitutionApprover = Annotated[Principal, Depends(RequireCapability("constitution:approve"))]
ConstitutionRevoker = Annotated[Principal, Depends(RequireCapability("constitution:revoke"))]
AuditReader = Annotated[Principal, Depends(RequireCapability("audit:read"))]
RetentionManager = Annotated[Principal, Depends(RequireCapability("retention:manage"))]
PrincipalManager = Annotated[Principal, Depends(RequireCapability("principal:manage"))]
