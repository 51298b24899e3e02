"""Identity records: principals, API keys, token families and tenants as they are stored, and what binds a credential.

A principal, a key and a tenant have a proof: their record, signed by the API. So whoever can write the database cannot
give itself a capability. `version` grows by one with each change, so an older record cannot come back.
"""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer

from capsules.base_model import FrozenModel, StrictModel
from capsules.identity.principal import Principal

IdentityState = Literal["active", "suspended", "revoked"]
Thumbprint = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{43}$")]
"""A SHA-256 in base64url without padding."""


class KeyConfirmation(StrictModel):
    """The key that the sender of a credential must prove to have (`cnf`, RFC 7800)."""

    model_config = ConfigDict(populate_by_name=True, serialize_by_alias=True)

    jkt: Thumbprint | None = Field(None, description="Thumbprint of a DPoP key (RFC 9449, RFC 7638).")
    x5t_s256: Thumbprint | None = Field(
        None, alias="x5t#S256", description="SHA-256 of a client certificate (RFC 8705)."
    )

    @model_serializer(mode="wrap")
    def _without_unset(self, serialize: SerializerFunctionWrapHandler) -> dict[str, str]:
        return {name: value for name, value in serialize(self).items() if value is not None}


class PrincipalClaims(StrictModel):
    """What the proof of a principal's record says."""

    tenant: str
    subject: str
    capabilities: frozenset[str]
    state: IdentityState
    version: int


class ApiKeyClaims(StrictModel):
    """What the proof of an API key says. `expires_at` is in Unix seconds."""

    tenant: str
    id: str
    hash: str
    subject: str
    capabilities: frozenset[str] | None = None
    expires_at: int | None = None
    confirmation: KeyConfirmation | None = None


class TenantClaims(StrictModel):
    """What the proof of a tenant's record says."""

    tenant: str
    state: IdentityState
    version: int


class PrincipalRecord(Principal):
    """A principal with its state. A suspended one is refused until it is resumed, a revoked one for ever."""

    state: IdentityState
    version: int
    created_at: datetime
    changed_at: datetime


class TenantRecord(FrozenModel):
    """A tenant with its state. Nobody of a suspended tenant is let in."""

    id: str
    state: IdentityState
    version: int
    created_at: datetime
    changed_at: datetime


class ApiKeyRecord(FrozenModel):
    """An API key without its secret."""

    id: str
    subject: str
    state: Literal["active", "ended", "revoked"]
    capabilities: frozenset[str] | None = Field(None, description="Null: all of its principal's.")
    confirmation: KeyConfirmation | None = Field(None, description="The key that its sender must prove. Null: none.")
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    revoked_by: str | None = None
    reason: str = ""


class TokenFamily(FrozenModel):
    """The refresh tokens that follow from one sign-in, and the access tokens that they gave."""

    id: str
    subject: str
    state: Literal["active", "ended", "revoked"]
    client: str = Field(description="What the tokens are for, as it was named when the family was opened.")
    capabilities: frozenset[str] | None = Field(None, description="Null: all of its principal's.")
    parent: str | None = Field(None, description="Family of the token that opened this one.")
    api_key: str | None = Field(None, description="API key that opened it.")
    confirmation: KeyConfirmation | None = None
    generation: int = Field(description="Number of refresh tokens so far.")
    created_at: datetime
    renewed_at: datetime
    expires_at: datetime
    revoked_at: datetime | None = None
    revoked_by: str | None = None
    reason: str = ""
