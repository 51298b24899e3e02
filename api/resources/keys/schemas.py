"""Request and response bodies of the key routes."""

from pydantic import Field

from capsules.base_model import FrozenModel, StrictModel
from capsules.identity.principal import Subject
from capsules.identity.records import ApiKeyRecord, KeyConfirmation
from somagent.identity.capabilities import Capability, Role


class KeyRequest(StrictModel, json_schema_extra={"examples": [{"subject": "ci", "days": 90}]}):
    """A new API key of a principal."""

    subject: Subject
    capabilities: frozenset[Capability | Role] | None = Field(
        None, description="Those of the principal that the key is limited to. Unset: all that it has."
    )
    days: int | None = Field(None, ge=1, le=3650, description="How long it is valid. Unset: until it is revoked.")
    confirmation: KeyConfirmation | None = Field(
        None, description="Key that its sender must prove, as `jkt` (DPoP) or `x5t#S256` (client certificate)."
    )


class RotationRequest(StrictModel):
    """How to replace a key."""

    overlap_seconds: int = Field(
        0, ge=0, le=604_800, description="How long the old key is valid beside the new one. 0: it is revoked now."
    )


class KeyResponse(FrozenModel):
    """A new API key."""

    record: ApiKeyRecord
    key: str = Field(description="The API key. It is shown only now: the database has only its hash.")
