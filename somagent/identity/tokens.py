"""Tokens: EdDSA JWTs signed by the issuer key, with one audience for each use, so that none can replace another.

    access        the caller of the API, for at most 15 minutes
    refresh       gets the next access token of a token family, once
    identity      the record of a principal, an API key or a tenant (`capsules.identity.records`)
    authority     what a run may do (`capsules.identity.authority`)
    attestation   who decides what, for a few minutes

A token that cannot be verified raises an error with the reason; its claims are never used.
"""

import json
import time
import uuid
from datetime import datetime
from functools import lru_cache
from typing import Any, Literal, NamedTuple

import jwt
from pydantic import BaseModel, Field, ValidationError

from capsules.base_model import StrictModel
from capsules.budgets.amounts import Amounts
from capsules.digest import Digest
from capsules.errors import AuthorityRefused, Denied, SomaError, Unauthenticated
from capsules.identity.authority import Authority
from capsules.identity.records import ApiKeyClaims, KeyConfirmation, PrincipalClaims, TenantClaims
from capsules.names import RunId, TenantId
from somagent.identity.keys import KeyRing

Audience = Literal[
    "somagent.access", "somagent.refresh", "somagent.identity", "somagent.authority", "somagent.attestation"
]
AttestationPurpose = Literal[
    "approve",
    "deny",
    "edit",
    "raise_budget",
    "grant",
    "revoke_grant",
    "delegate",
    "revoke_delegation",
    "propose_constitution",
    "approve_constitution",
    "reject_constitution",
    "activate_constitution",
    "revoke_constitution",
]
ISSUER = "somagent"
# Tolerated difference between the clocks of one cluster.
LEEWAY_SECONDS = 2
CLAIMS = ["exp", "iat", "aud", "iss", "jti", "sub", "body"]
EXPIRED = "The token has expired: get a new one."
ACCESS_SECONDS = 900
"""The longest life of an access token."""
# A run presents its authority with each action. Signature and claims of the last tokens are cached; the time is checked
# each time. A refusal is not cached.
CACHED_TOKENS = 1024


class AccessClaims(StrictModel):
    """The caller of the API, and what its token comes from: a token family or an API key, and ends with it.

    capabilities: those of the principal that the token is limited to. None: all that it has when the token is used.
    """

    tenant: TenantId
    subject: str = Field(min_length=1)
    capabilities: frozenset[str] | None = None
    family: str | None = None
    key: str | None = None
    confirmation: KeyConfirmation | None = None


class RefreshClaims(AccessClaims):
    """A refresh token: the generation of its family that it stands for."""

    generation: int = Field(ge=1)


class AccessToken(NamedTuple):
    """An access token that was verified. expires_at: Unix seconds."""

    claims: AccessClaims
    expires_at: int


class Attestation(StrictModel):
    """Who decides what: bound to an approval and its action, to amounts, or to the terms of a record."""

    tenant: TenantId
    subject: str = Field(min_length=1)
    capabilities: frozenset[str] = Field(description="By which the decision counts: the person's own, or lent ones.")
    purpose: AttestationPurpose
    run: RunId | None = Field(None, description="Workflow that the decision is about.")
    approval: str | None = None
    action: Digest | None = None
    on_behalf_of: str | None = Field(None, description="Principal whose delegated capability is used.")
    escalated: bool = Field(False, description="By the right of an escalation group, whose time has come.")
    until: int | None = Field(None, description="Unix time from which the approval does not count any more.")
    target: str | None = Field(None, description="For an edit: the target of the tool call that is edited.")
    arguments: Digest | None = Field(None, description="For an edit: digest of the new arguments.")
    amounts: Amounts | None = None
    record: str | None = Field(None, description="Id of what is decided: a grant, a raise, a proposal.")
    terms: dict[str, Any] = Field(default_factory=dict, description="What the person decided about the record.")

    def require(self, **claims: object) -> None:
        """Raise Denied unless each of these claims has this value."""
        for name, wanted in claims.items():
            if (attested := getattr(self, name)) != wanted:
                raise Denied(f"The token is for the {name} {attested!r}, not for {wanted!r}. Ask for a new one.")

    def require_capability(self, capability: str) -> None:
        """Raise Denied unless the person has the capability."""
        if capability not in self.capabilities:
            raise Denied(f"{self.subject!r} lacks the capability {capability!r}.")


class Tokens:
    """Mints tokens with the newest issuer key; verifies with every issuer key of the ring."""

    def __init__(self, keyring: KeyRing) -> None:
        self._keys = keyring
        self._authority = lru_cache(maxsize=CACHED_TOKENS)(self._verify_authority)
        self._attestation = lru_cache(maxsize=CACHED_TOKENS)(self._verify_attestation)

    def mint_access(self, claims: AccessClaims, seconds: int, *, issued_at: int | None = None) -> str:
        """Return a bearer token for the API. Raises KeyMissing without an issuer key, as all `mint_` methods do."""
        start = _now() if issued_at is None else issued_at
        return self._mint("somagent.access", claims.subject, claims, start, start + min(seconds, ACCESS_SECONDS))

    def verify_access(self, token: str) -> AccessToken:
        """Return the claims of an access token. Raises Unauthenticated with the reason."""
        claims = self._claims("somagent.access", token, Unauthenticated)
        if claims["exp"] - claims["iat"] > ACCESS_SECONDS:
            raise Unauthenticated(f"The token is valid for more than {ACCESS_SECONDS} seconds: get a new one.")
        return AccessToken(_model(_body(claims), AccessClaims, Unauthenticated), int(claims["exp"]))

    def mint_refresh(self, claims: RefreshClaims, expires_at: int) -> str:
        """Return a refresh token."""
        return self._mint("somagent.refresh", claims.subject, claims, _now(), expires_at)

    def verify_refresh(self, token: str) -> RefreshClaims:
        """Return the claims of a refresh token. Raises Unauthenticated with the reason."""
        return self._verify("somagent.refresh", token, RefreshClaims, Unauthenticated)

    def sign_record(self, record: PrincipalClaims | ApiKeyClaims | TenantClaims) -> str:
        """Return the proof of a record of identity. It does not expire: the next version replaces it."""
        return self._mint("somagent.identity", record.tenant, record, _now(), None)

    def holds(self, proof: str, record: PrincipalClaims | ApiKeyClaims | TenantClaims) -> bool:
        """Return whether a proof is ours and says exactly this."""
        return self.read_record(proof, type(record)) == record

    def read_record[M: BaseModel](self, proof: str, model: type[M]) -> M | None:
        """Return the record in a proof; None when the proof is not ours or is of another kind."""
        try:
            return self._verify("somagent.identity", proof, model, Unauthenticated)
        except Unauthenticated:
            return None

    def mint_authority(self, authority: Authority) -> str:
        """Return the authority as a token that expires with it."""
        return self._mint("somagent.authority", authority.actor, authority, _now(), authority.expires_at)

    def verify(self, token: str, *, expired: bool = False) -> Authority:
        """Return the authority in a token. Raises AuthorityRefused with the reason. `expired`: it may have expired."""
        authority, expires = self._authority(token)
        if not expired and expires <= time.time() - LEEWAY_SECONDS:
            raise AuthorityRefused(EXPIRED)
        return authority

    def read_authority(self, token: str) -> Authority:
        """Return the authority in a token, expired or not, for display only. Raises AuthorityRefused."""
        return self.verify(token, expired=True)

    def mint_attestation(self, attestation: Attestation, seconds: int = 300, *, issued_at: int | None = None) -> str:
        """Return the token that goes with a decision of a person."""
        start = _now() if issued_at is None else issued_at
        return self._mint("somagent.attestation", attestation.subject, attestation, start, start + seconds)

    def verify_attestation(self, token: str) -> Attestation:
        """Return the attestation in a token. Raises AuthorityRefused with the reason."""
        return self._verify("somagent.attestation", token, Attestation, AuthorityRefused)

    def verify_recorded(self, token: str, used_at: datetime) -> Attestation:
        """Return the attestation of a decision that was recorded at a time. Raises AuthorityRefused with the reason.

        It counts as it did then: the token has expired since, and the key that signed it may be retired.
        """
        attestation, issued, expires = self._attestation(token)
        if not issued - LEEWAY_SECONDS <= used_at.timestamp() <= expires + LEEWAY_SECONDS:
            raise AuthorityRefused(
                f"The attestation of {attestation.subject!r} was not valid at {used_at.isoformat()}."
            )
        return attestation

    def _mint(self, audience: Audience, subject: str, body: BaseModel, issued: int, expires: int | None) -> str:
        key_id, key = self._keys.signer("issuer")
        claims = {
            "iss": ISSUER,
            "aud": audience,
            "sub": subject,
            "iat": issued,
            "jti": uuid.uuid4().hex,
            "body": body.model_dump(mode="json", exclude={"confirmation"}),
        }
        if expires is not None:
            claims["exp"] = expires
        if confirmation := getattr(body, "confirmation", None):
            claims["cnf"] = confirmation.model_dump(mode="json")
        return jwt.encode(claims, key, algorithm="EdDSA", headers={"kid": key_id})

    def _verify[M: BaseModel](self, audience: Audience, token: str, model: type[M], refusal: type[SomaError]) -> M:
        return _model(_body(self._claims(audience, token, refusal)), model, refusal)

    def _verify_authority(self, token: str) -> tuple[Authority, int]:
        claims = self._claims("somagent.authority", token, AuthorityRefused, expired=True)
        return _model(claims["body"], Authority, AuthorityRefused), int(claims["exp"])

    def _verify_attestation(self, token: str) -> tuple[Attestation, int, int]:
        claims = self._claims("somagent.attestation", token, AuthorityRefused, expired=True)
        return _model(claims["body"], Attestation, AuthorityRefused), int(claims["iat"]), int(claims["exp"])

    def _claims(
        self, audience: Audience, token: str, refusal: type[SomaError], *, expired: bool = False
    ) -> dict[str, Any]:
        try:
            key_id = jwt.get_unverified_header(token).get("kid")
            key = self._keys.verifier("issuer", key_id) if isinstance(key_id, str) else None
            if key is None:
                raise refusal(f"The token names the key {key_id!r}, which is not an issuer key here.")
            required = [name for name in CLAIMS if name != "exp" or audience != "somagent.identity"]
            options: Any = {"require": required, "verify_exp": not expired}
            return jwt.decode(
                token,
                key,
                algorithms=["EdDSA"],
                audience=audience,
                issuer=ISSUER,
                leeway=LEEWAY_SECONDS,
                options=options,
            )
        except jwt.ExpiredSignatureError as error:
            raise refusal(EXPIRED) from error
        except jwt.InvalidSignatureError as error:
            raise refusal("The token's signature is not ours: it was forged or altered.") from error
        except jwt.InvalidAudienceError as error:
            raise refusal(f"The token is for another use; this needs one for {audience!r}.") from error
        except (jwt.InvalidTokenError, ValueError) as error:
            raise refusal(f"The token cannot be read: {error}") from error


def _body(claims: dict[str, Any]) -> Any:  # noqa: ANN401 - a claim
    """Return the body of a token, with the key that it is bound to (`cnf`, RFC 7800)."""
    body = claims["body"]
    return body | {"confirmation": claims["cnf"]} if "cnf" in claims and isinstance(body, dict) else body


def _model[M: BaseModel](body: Any, model: type[M], refusal: type[SomaError]) -> M:  # noqa: ANN401 - a claim
    try:
        # Through JSON: a strict model takes a JSON list for a set, but not a Python list.
        return model.model_validate_json(json.dumps(body))
    except ValidationError as error:
        raise refusal("The token is ours but its claims are not: mint it again.") from error


def _now() -> int:
    return int(time.time())
