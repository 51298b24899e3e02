"""Delegation: a person lends a capability to another principal for a limited time.

It counts for approvals only, cannot be lent on, and holds only while the owner has the capability.
"""

from datetime import datetime
from typing import Literal

from pydantic import ConfigDict, Field

from capsules.base_model import FrozenModel, StrictModel
from capsules.duration import Duration
from capsules.identity.principal import CapabilityName, Subject

MAX_DELEGATION_SECONDS = 90 * 86_400
DelegationState = Literal["coming", "open", "ended", "revoked"]


class DelegationRequest(StrictModel):
    """Request to lend a capability to a principal for a time."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"capability": "approval:decide", "to": "ben", "seconds": "3d", "reason": "I am on leave."}]
        }
    )

    capability: CapabilityName
    to: Subject = Field(description="A principal of the tenant.")
    seconds: Duration = Field(86_400, le=MAX_DELEGATION_SECONDS, description="For how long, at most 90 days.")
    starts_at: datetime | None = Field(None, description="From when on; unset: now.")
    reason: str = Field("", max_length=2000)


class Delegation(FrozenModel):
    """A delegation as stored. It is never changed, only revoked."""

    id: str
    state: DelegationState
    capability: str
    delegator: str
    delegate: str
    reason: str = ""
    starts_at: datetime
    ends_at: datetime
    created_at: datetime
    revoked_at: datetime | None = None
    revoked_by: str | None = None
