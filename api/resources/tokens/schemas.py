"""Request and response bodies of the token routes."""

from typing import Literal

from pydantic import Field

from capsules.base_model import FrozenModel, StrictModel
from capsules.identity.principal import Principal
from capsules.identity.records import KeyConfirmation
from somagent.identity.capabilities import Capability, Role
from somagent.identity.tokens import ACCESS_SECONDS


class TokenRequest(StrictModel, json_schema_extra={"examples": [{"capabilities": ["run:read"], "seconds": 900}]}):
    """Capabilities and lifetime of a new token: at most those of the credential that asks for it."""

    capabilities: frozenset[Capability | Role] | None = Field(None, description="Unset: all of the caller's.")
    seconds: int = Field(ACCESS_SECONDS, ge=1, le=ACCESS_SECONDS)
    refresh: bool = Field(False, description="Open a token family, and return a refresh token with the access token.")
    client: str = Field("", max_length=100, description="What the tokens are for, to be shown in lists.")
    bind: Literal["dpop", "certificate"] | None = Field(
        None, description="Bind the token to the key of the request's `DPoP` header, or to its client certificate."
    )


class RefreshRequest(StrictModel):
    """A refresh token. It counts once."""

    refresh_token: str = Field(min_length=1, max_length=8192)


class TokenResponse(FrozenModel):
    """A new access token."""

    token: str
    token_type: Literal["Bearer", "DPoP"] = Field("Bearer", description="Scheme to send it with.")
    expires_at: int = Field(description="Unix seconds.")
    principal: Principal
    family: str | None = Field(None, description="Token family that it ends with.")
    confirmation: KeyConfirmation | None = Field(None, description="The key that it is bound to.")
    refresh_token: str | None = Field(
        None, description="For the next access token. It is shown only now and counts once."
    )
    refresh_expires_at: int | None = Field(None, description="Unix seconds.")
