"""Request and response bodies of the token and principal routes."""

from typing import Annotated

from pydantic import Field

from capsules.base_model import FrozenModel, StrictModel
from capsules.identity.principal import Principal
from somagent.identity.capabilities import Capability, Role

MAX_TOKEN_SECONDS = 30 * 86_400


class TokenRequest(StrictModel, json_schema_extra={"examples": [{"capabilities": ["run:read"], "seconds": 900}]}):
    """Capabilities and lifetime of a new token: at most those of the token that asks for it."""

    capabilities: frozenset[Capability | Role] | None = Field(None, description="Unset: all of the caller's.")
    seconds: int = Field(3600, ge=1, le=MAX_TOKEN_SECONDS)


class TokenResponse(FrozenModel):
    """A new access token."""

    token: str
    expires_at: int = Field(description="Unix seconds.")
    principal: Principal


class PrincipalRequest(
    StrictModel, json_schema_extra={"examples": [{"subject": "ci", "capabilities": ["capsule:run"]}]}
):
    """A program or person that authenticates with an API key."""

    subject: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._@-]{0,99}$")]
    capabilities: frozenset[Capability | Role] = Field(min_length=1)


class PrincipalResponse(FrozenModel):
    """A new principal with its API key."""

    principal: Principal
    key: str = Field(description="The API key. It is shown only now: the database has only its hash.")
