"""Work of the token routes: mint, renew and end tokens."""

import datetime as dt
import time
import uuid

from starlette.types import Scope

from api.access import require_held
from api.audit_entries import audited_change
from api.authentication import Credential
from api.deps import State
from api.resources.tokens.schemas import TokenRequest, TokenResponse
from capsules.errors import Invalid, Unauthenticated
from capsules.identity.principal import Principal
from capsules.identity.records import KeyConfirmation
from somagent.identity.dpop import DpopRefused
from somagent.identity.tokens import ACCESS_SECONDS, AccessClaims, RefreshClaims

REFUSED = {
    "unknown": "The refresh token is of no token family here. Sign in again.",
    "revoked": "The token family was revoked. Sign in again.",
    "expired": "The token family has ended. Sign in again.",
    "reused": "This refresh token was used before, so somebody may have stolen it: its token family is revoked now. "
    "Sign in again.",
}


async def mint(
    state: State, caller: Principal, presented: Credential, request: TokenRequest, scope: Scope
) -> TokenResponse:
    """Mint a token for the caller, which ends with its credential.

    Raises Denied for a capability that the caller lacks, Invalid when there is no key to bind the token to, Conflict
    when the credential ended meanwhile.
    """
    wanted = None if request.capabilities is None else frozenset[str](request.capabilities)
    if wanted is not None:
        require_held(caller, wanted, "pass on")
    claims = presented.claims.model_copy(
        update={
            "capabilities": presented.claims.capabilities if wanted is None else wanted,
            "confirmation": await _confirmation(state, presented, request, scope),
        }
    )
    expires_at = min(int(time.time()) + request.seconds, presented.expires_at or 2**53)
    details = {"capabilities": sorted(caller.capabilities if wanted is None else wanted), "expires_at": expires_at}
    async with audited_change(state, caller, "token.minted", caller.subject, **details):
        if not request.refresh:
            return await _respond(state, claims, expires_at)
        family, ends = await _open_family(state, claims, request.client or "api")
        return await _respond(state, _access(family), min(expires_at, ends), (family, ends))


async def renew(state: State, token: str, scope: Scope) -> TokenResponse:
    """Take a refresh token and return the next tokens of its family.

    Raises Unauthenticated when it does not count. When it was used before, its family is revoked first.
    """
    claims = state.tokens.verify_refresh(token)
    await _require_sender(state, claims, scope)
    await state.identities.resolve(Credential(claims))  # a suspended principal does not lose its refresh token
    family = claims.family or ""
    async with state.db.transaction(claims.tenant) as tx:
        renewal = await tx.token_families.renew(family, claims.generation)
    if renewal != "renewed":
        raise Unauthenticated(REFUSED[renewal])
    async with state.db.transaction(claims.tenant) as tx:
        ends = int((await tx.token_families.get(family)).expires_at.timestamp())
    following = claims.model_copy(update={"generation": claims.generation + 1})
    return await _respond(state, _access(claims), min(ends, int(time.time()) + ACCESS_SECONDS), (following, ends))


async def sign_out(state: State, caller: Principal, presented: Credential) -> None:
    """End the family of a token. Raises Invalid when it is of none."""
    if presented.claims.family is None:
        raise Invalid("Your credential is of no token family. End an API key by `DELETE /v1/keys/{key}`.")
    async with state.db.transaction(caller.tenant) as tx:
        await tx.token_families.end(presented.claims.family, by=caller.subject, reason="signed out")


async def _open_family(state: State, claims: AccessClaims, client: str) -> tuple[RefreshClaims, int]:
    """Open a family from a credential. Return its first refresh token's claims, and when it ends."""
    family = uuid.uuid4().hex
    latest = dt.datetime.now(dt.UTC) + dt.timedelta(days=state.settings.refresh_days)
    async with state.db.transaction(claims.tenant) as tx:
        await tx.audit.set_actor(claims.subject)
        ends = await tx.token_families.open(
            family,
            claims.subject,
            client=client,
            expires_at=latest,
            capabilities=claims.capabilities,
            parent=claims.family,
            key=claims.key,
            confirmation=claims.confirmation,
        )
    # The key stays in the claims: the family's tokens end with it.
    named = {name: getattr(claims, name) for name in AccessClaims.model_fields} | {"family": family}
    return RefreshClaims(**named, generation=1), int(ends.timestamp())


async def _respond(
    state: State, claims: AccessClaims, expires_at: int, refresh: tuple[RefreshClaims, int] | None = None
) -> TokenResponse:
    """Return a new access token, after its claims were resolved as those of any caller. Raises Unauthenticated."""
    found = await state.identities.resolve(Credential(claims))
    token = state.tokens.mint_access(claims, expires_at - int(time.time()))
    return TokenResponse(
        token=token,
        token_type="DPoP" if claims.confirmation and claims.confirmation.jkt else "Bearer",
        expires_at=state.tokens.verify_access(token).expires_at,
        principal=found.principal,
        family=claims.family,
        confirmation=claims.confirmation,
        refresh_token=refresh and state.tokens.mint_refresh(*refresh),
        refresh_expires_at=refresh and refresh[1],
    )


def _access(claims: RefreshClaims) -> AccessClaims:
    return AccessClaims(**{name: getattr(claims, name) for name in AccessClaims.model_fields})


async def _confirmation(
    state: State, presented: Credential, request: TokenRequest, scope: Scope
) -> KeyConfirmation | None:
    """Return the key that a new token is bound to: that of the credential, or the one that the request names."""
    if presented.claims.confirmation is not None or request.bind is None:
        return presented.claims.confirmation
    if request.bind == "dpop":
        proof = await state.senders.read_proof(scope, None)
        if proof is None:
            raise DpopRefused("A token is bound to the key of the `DPoP` header: the request has none.")
        return KeyConfirmation(jkt=proof.jkt)
    certificate = state.senders.certificate(scope)
    if certificate is None:
        raise Invalid("A token is bound to the client certificate that a trusted proxy passes: the request has none.")
    return KeyConfirmation(x5t_s256=certificate)


async def _require_sender(state: State, claims: RefreshClaims, scope: Scope) -> None:
    """Raise Unauthenticated unless the sender of a refresh token proves the key that it is bound to."""
    bound = claims.confirmation or KeyConfirmation()
    if bound.jkt is not None:
        proof = await state.senders.read_proof(scope, None)
        if proof is None or proof.jkt != bound.jkt:
            raise DpopRefused("The refresh token is bound to a DPoP key. Send a proof of that key.")
    if bound.x5t_s256 is not None and state.senders.certificate(scope) != bound.x5t_s256:
        raise Unauthenticated("The refresh token is bound to a client certificate. Call with it.")
