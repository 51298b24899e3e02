"""Authentication: who calls, by an access token or an API key, and what they may do at this moment.

The database says it: the states of tenant, principal and credential, and the capabilities. Its answer is kept for
`KEPT_SECONDS`, so that a change counts within a second in every process. A token only narrows what its principal has.
Records have signed proofs (`capsules.identity.records`): whoever can write the database gains nothing.
"""

import time
from dataclasses import dataclass, field
from typing import Any

from capsules.bounded_cache import BoundedCache
from capsules.errors import Unauthenticated
from capsules.identity.principal import Principal
from capsules.identity.records import ApiKeyClaims, PrincipalClaims, TenantClaims
from somagent.db.database import Database
from somagent.db.gate.identities import resolve_identity
from somagent.identity.api_keys import PREFIX, parse_key
from somagent.identity.tokens import AccessClaims, Tokens

KEPT_SECONDS = 0.5
MAX_KEPT = 10_000
UNSIGNED = "has no valid proof, so it was not written by this installation. Ask the operator"


class CredentialMissing(Unauthenticated):
    """The request has no token and no API key."""


@dataclass(frozen=True)
class Credential:
    """What a caller showed. hash: of an API key. expires_at: of an access token, in Unix seconds."""

    claims: AccessClaims
    hash: str | None = None
    expires_at: int | None = None


@dataclass(frozen=True)
class Authenticated:
    """The principal of a request with the capabilities that count now, and its credential."""

    principal: Principal
    credential: Credential


@dataclass(frozen=True)
class _Resolved:
    """What the database says about a credential. `claims` limit what the principal has."""

    held: frozenset[str]
    claims: AccessClaims
    expires_at: float | None


def read_credential(tokens: Tokens, text: str) -> Credential:
    """Return an access token or API key whose form and signature are right. Raises Unauthenticated."""
    if text.startswith(PREFIX):
        key = parse_key(text)
        return Credential(AccessClaims(tenant=key.tenant, subject=key.id, key=key.id), hash=key.hash)
    token = tokens.verify_access(text)
    return Credential(token.claims, expires_at=token.expires_at)


@dataclass
class Identities:
    """Resolves credentials to principals."""

    db: Database
    tokens: Tokens
    _kept: BoundedCache[tuple[str | None, ...], tuple[float, _Resolved]] = field(
        default_factory=lambda: BoundedCache(MAX_KEPT)
    )

    async def resolve(self, credential: Credential) -> Authenticated:
        """Return the caller as it is now. Raises Unauthenticated with the reason, Unavailable."""
        resolved = await self._resolved(credential)
        if resolved.expires_at is not None and resolved.expires_at <= time.time():
            raise Unauthenticated("The API key or token family has ended. Ask for a new one.")
        limits = credential.claims.capabilities, resolved.claims.capabilities
        held = resolved.held.intersection(*(limit for limit in limits if limit is not None))
        principal = Principal(tenant=resolved.claims.tenant, subject=resolved.claims.subject, capabilities=held)
        shown = credential if credential.hash is None else Credential(resolved.claims, credential.hash)
        return Authenticated(principal, shown)

    async def _resolved(self, credential: Credential) -> _Resolved:
        claims = credential.claims
        key = claims.tenant, claims.subject, claims.family, claims.key, credential.hash
        kept = self._kept.get(key)
        moment = time.monotonic()  # before the question, so that no answer is older than it seems
        if kept is not None and moment < kept[0]:
            return kept[1]
        resolved = await self._ask(credential)
        self._kept[key] = moment + KEPT_SECONDS, resolved
        return resolved

    async def _ask(self, credential: Credential) -> _Resolved:
        claims, by_hash = credential.claims, credential.hash is not None
        if claims.family is None and claims.key is None:
            raise Unauthenticated("The token comes from no token family and no API key. Get a new one.")
        holder, key_id = (None, None) if by_hash else (claims.subject, claims.key)
        answer = await resolve_identity(
            self.db, claims.tenant, subject=holder, family=claims.family, key=key_id, key_hash=credential.hash
        )
        key, family, principal = answer["key"], answer["family"], answer["principal"]
        self._require_tenant(claims.tenant, answer["tenant"])
        ends: list[float | None] = []
        if claims.key is not None:
            shown = self._require_key(claims.key, key)
            ends += [key["expires_at"], shown.expires_at]
            if by_hash:
                claims = claims.model_copy(update=shown.model_dump(include={"subject", "capabilities"}))
                claims = claims.model_copy(update={"key": shown.id, "confirmation": shown.confirmation})
        if claims.family is not None:
            _require_family(claims, family)
            ends.append(family["expires_at"])
        held = self._require_principal(claims.subject, principal)
        return _Resolved(held, claims, min((end for end in ends if end is not None), default=None))

    def _require_tenant(self, tenant: str, row: dict[str, Any] | None) -> None:
        if row is None:
            raise Unauthenticated(f"There is no tenant {tenant!r}.")
        record = TenantClaims(tenant=tenant, state=row["state"], version=row["version"])
        if record.version and not self.tokens.holds(row["proof"] or "", record):  # version 0: as the owner added it
            raise Unauthenticated(f"The record of the tenant {tenant!r} {UNSIGNED}.")
        if record.state != "active":
            raise Unauthenticated(f"The tenant {tenant!r} is {record.state}. Ask the operator of the platform.")

    def _require_principal(self, subject: str, row: dict[str, Any] | None) -> frozenset[str]:
        if row is None:
            raise Unauthenticated(f"There is no principal {subject!r}. Ask for a new token.")
        record = PrincipalClaims(**{name: row[name] for name in PrincipalClaims.model_fields})
        if not self.tokens.holds(row["proof"] or "", record):
            raise Unauthenticated(f"The record of the principal {subject!r} {UNSIGNED}.")
        if record.state != "active":
            raise Unauthenticated(f"The principal {subject!r} is {record.state}. Ask who manages principals.")
        return record.capabilities

    def _require_key(self, shown: str, row: dict[str, Any] | None) -> ApiKeyClaims:
        """Return what the proof of a key says. The row can only end the key earlier."""
        if row is None or row["revoked_at"] is not None:
            raise Unauthenticated(f"The API key {shown!r} is not known or was removed. Ask for a new one.")
        record = self.tokens.read_record(row["proof"] or "", ApiKeyClaims)
        if record is None or any(getattr(record, name) != row[name] for name in ("tenant", "id", "hash", "subject")):
            raise Unauthenticated(f"The record of the API key {shown!r} {UNSIGNED}.")
        return record


def _require_family(claims: AccessClaims, row: dict[str, Any] | None) -> None:
    if row is None or row["subject"] != claims.subject:
        raise Unauthenticated(f"The token family {claims.family!r} is not known. Get a new token.")
    if row["revoked_at"] is not None:
        raise Unauthenticated(f"The token was revoked ({row['reason']}). Get a new one.")
