"""Access control: authentication, and the capability that an endpoint requires as the type of a parameter.

    async def start_run(..., caller: CapsuleRunner): ...

The tenant is always the token's.
"""

import time
from collections.abc import Iterable
from typing import Annotated, Any

from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.datastructures import Headers
from starlette.types import Scope

from api.authentication import Authenticated, Credential, CredentialMissing, read_credential
from api.deps import State
from capsules.errors import Denied, SomaError, Unauthenticated
from capsules.identity.principal import Principal
from somagent.identity.capabilities import Capability
from somagent.identity.tokens import Attestation, AttestationPurpose

BEARER = HTTPBearer(
    scheme_name="bearer", bearerFormat="JWT or API key", description="An access token or an API key.", auto_error=False
)
SCHEMES = {"bearer", "dpop"}
BearerHeader = Annotated[HTTPAuthorizationCredentials | None, Security(BEARER)]


async def authenticate(state: State, scope: Scope) -> Authenticated | None:
    """Return who makes a request; None without an Authorization header.

    Raises Unauthenticated when the token or key is not valid now, or its sender does not prove the key that it is bound
    to. Raises Unavailable when that cannot be found out.
    """
    header = Headers(scope=scope).get("authorization")
    if header is None:
        return None
    scheme, _, text = header.partition(" ")
    if scheme.lower() not in SCHEMES or not text.strip():
        raise CredentialMissing("The Authorization header has no token. Send it as: Authorization: Bearer <token>.")
    found = await state.identities.resolve(read_credential(state.tokens, text.strip()))
    await state.senders.require(scope, scheme.lower(), text.strip(), found.credential.claims.confirmation)
    return found


async def _caller(request: Request, presented: BearerHeader) -> Principal:
    del presented  # declares the scheme in the OpenAPI document; the middleware RequestRateLimit has read the header
    found: Principal | SomaError | None = request.scope.get("somagent.caller")
    if isinstance(found, SomaError):
        raise found
    if found is None:
        raise CredentialMissing("This endpoint needs a token. Send it as: Authorization: Bearer <token>.")
    return found


Caller = Annotated[Principal, Depends(_caller)]
"""Any principal with a valid token."""


async def _credential(request: Request, caller: Caller) -> Credential:
    del caller  # raises when there is none
    credential: Credential = request.scope["somagent.credential"]
    return credential


async def holds_still(state: State, credential: Credential, capability: str) -> bool:
    """Return whether a credential that was let in is valid now, with a capability. Raises Unavailable."""
    if credential.expires_at is not None and credential.expires_at <= time.time():
        return False
    try:
        return capability in (await state.identities.resolve(credential)).principal.capabilities
    except Unauthenticated:
        return False


Presented = Annotated[Credential, Depends(_credential)]
"""The token or API key of the caller."""


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
TenantManager = Annotated[Principal, Depends(RequireCapability("tenant:manage"))]
