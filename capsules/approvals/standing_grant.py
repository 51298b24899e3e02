"""Standing grants: approvals in advance, for a number of actions of a proved scope, until they expire."""

from datetime import datetime
from typing import Literal

from pydantic import ConfigDict, Field

from capsules.base_model import FrozenModel, StrictModel
from capsules.digest import Digest
from capsules.duration import Duration
from capsules.expressions import MAX_LENGTH

GrantState = Literal["open", "used up", "expired", "revoked"]
MAX_USES = 1000
MAX_GRANT_SECONDS = 90 * 86_400
MAX_OPEN = 50
"""Most open grants of a tenant under one constitution: the gate checks all of them before it asks."""


class GrantRequest(StrictModel):
    """Request for a standing grant."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "scope": "action.kind == 'tool.invoke' && action.target == 'python@1.0.0/run'",
                    "uses": 5,
                    "expires_seconds": "7d",
                    "reason": "The nightly report needs it and was looked through.",
                }
            ]
        }
    )

    scope: str = Field(min_length=1, max_length=MAX_LENGTH, description="Which actions: CEL over `action`.")
    capability: str = Field(
        "approval:decide", pattern=r"^[a-z]+:[a-z-]+$", max_length=64, description="In which capacity you approve."
    )
    uses: int = Field(ge=1, le=MAX_USES, description="How many actions it lets begin.")
    expires_seconds: Duration = Field(le=MAX_GRANT_SECONDS, description="How long it holds, at most 90 days.")
    reason: str = Field(min_length=1, max_length=2000, description="Why, for the record.")


class StandingGrant(FrozenModel):
    """A standing grant as stored."""

    id: str
    state: GrantState
    scope: str
    capability: str
    reason: str
    constitution: Digest = Field(description="Under which its scope was proved; under another it does not count.")
    granted_by: str
    granted_at: datetime
    expires_at: datetime
    uses: int
    uses_left: int
    revoked_at: datetime | None = None
    revoked_by: str | None = None
