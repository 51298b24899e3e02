"""Approvals: a person's single-use, expiring yes or no to one action, bound to its digest."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from capsules.amounts import Amounts
from capsules.digest import Digest

STRICT = ConfigDict(frozen=True, extra="forbid")

State = Literal["pending", "approved", "denied", "expired", "used"]


class ApprovalRequest(BaseModel):
    """What the gate asks for; travels in the failure `ApprovalRequired`."""

    model_config = STRICT

    id: str
    run: str
    action: Digest
    kind: str
    target: str
    sentence: str
    capability: str = "approval:decide"
    requested_by: str
    expires_at: datetime


class Approval(ApprovalRequest):
    """An approval as it stands in the store."""

    state: State = "pending"
    decided_by: str | None = None
    decided_at: datetime | None = None
    comment: str = ""


class ApprovalDecision(BaseModel):
    """Payload of the Update and Signal `approve` and `deny`.

    `token` is an attestation signed by our issuer: who decides, in which tenant, what, bound to approval and digest.
    The body itself names nobody.
    """

    model_config = STRICT

    approval: str
    action: Digest
    comment: str = Field("", max_length=2000)
    token: str


class DecisionMade(BaseModel):
    """Result of recording a decision."""

    model_config = STRICT

    approval: str
    state: State
    decided_by: str | None = None
    problem: str | None = Field(None, description="Why the decision was refused; the approval is unchanged then.")


class RaiseBudget(BaseModel):
    """Payload of the Update and Signal `raise_budget`: amounts added to the run's limit."""

    model_config = STRICT

    amounts: Amounts
    token: str


class BudgetRaised(BaseModel):
    model_config = STRICT

    limit: Amounts | None = None
    left: Amounts | None = None
    problem: str | None = None
