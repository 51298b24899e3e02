"""Approvals: answers of people about one action. An approval is bound to its digest, used once, and expires.

An approval is satisfied when, for each of its demands, enough different people with that capability have approved. One
person may count for several demands. One denial denies.
"""

from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Literal

from pydantic import Field

from capsules.actions.verdict import Demand
from capsules.base_model import AttestedModel, StrictModel
from capsules.budgets.amounts import Amounts
from capsules.digest import Digest

ApprovalState = Literal["pending", "approved", "denied", "expired", "used", "edited"]
AnswerKind = Literal["yes", "no", "edit"]


class NextGroup(StrictModel):
    """From `at` on, people with this capability may decide in place of those asked first."""

    capability: str
    at: datetime


class Answer(StrictModel):
    """Answer of one person, with the capabilities they had."""

    by: str
    said: AnswerKind
    on_behalf_of: str | None = Field(None, description="Who delegated the right to them.")
    capabilities: tuple[str, ...] = Field(description="What they held then, of their own or by the delegation.")
    escalated: bool = Field(False, description="By the right of a group that may decide later: counts everywhere.")
    comment: str = ""
    attestation: Digest | None = Field(None, description="Digest of the signed attestation that proves the answer.")
    at: datetime


class ApprovalRequest(StrictModel):
    """Request of the gate for an approval; travels in the failure `ApprovalRequired`."""

    id: str
    run: str
    action: Digest
    kind: str
    target: str
    sentence: str
    capability: str = Field("approval:decide", description="Of the first demand.")
    demands: tuple[Demand, ...] = (Demand(),)
    escalation: tuple[NextGroup, ...] = Field((), description="Who may decide later, soonest first.")
    requested_by: str
    expires_at: datetime

    def may_decide(self, capabilities: Collection[str], now: datetime) -> bool:
        """Return whether a holder of these capabilities can decide it now."""
        return self.asks_for(capabilities) or self.escalated_to(capabilities, now)

    def asks_for(self, capabilities: Collection[str]) -> bool:
        return any(demand.capability in capabilities for demand in self.demands)

    def escalated_to(self, capabilities: Collection[str], now: datetime) -> bool:
        return any(group.capability in capabilities and group.at <= now for group in self.escalation)

    def describe_approvers(self) -> str:
        """Return a text of who is or was asked: quorums, capabilities and escalation times."""
        people = [f"{d.quorum} with {d.capability!r}" for d in self.demands]
        later = [f"from {g.at:%Y-%m-%d %H:%M:%S} UTC on {g.capability!r}" for g in self.escalation]
        return ", ".join([" and ".join(people), *later])


class Approval(ApprovalRequest):
    """An approval as stored."""

    state: ApprovalState = "pending"
    requested_at: datetime | None = None
    answers: tuple[Answer, ...] = Field((), description="Who said what so far, in the order they said it.")
    missing: tuple[Demand, ...] = Field((), description="How many more people each demand needs.")
    decided_by: str | None = None
    decided_at: datetime | None = None
    comment: str = ""
    edited_to: Digest | None = Field(None, description="edited: the action that was asked for instead.")
    edited_from: str | None = Field(None, description="The approval whose action was edited into this one.")

    def approval_by(self, name: str) -> Answer | None:
        """Return the approval by this person or on their behalf, if there is one: nobody's right counts twice."""
        return next((a for a in self.answers if a.said == "yes" and name in {a.by, a.on_behalf_of}), None)


class EligibleApprover(StrictModel):
    """Somebody of the tenant who could decide an approval now."""

    subject: str
    on_behalf_of: str | None = None
    escalated: bool = False


def missing_demands(demands: Iterable[Demand], answers: Collection[Answer]) -> tuple[Demand, ...]:
    """Return each demand that is not met, with the number of people it still needs."""
    lacking = []
    for demand in demands:
        people = {a.by for a in answers if a.said == "yes" and (a.escalated or demand.capability in a.capabilities)}
        if len(people) < demand.quorum:
            lacking.append(Demand(capability=demand.capability, quorum=demand.quorum - len(people)))
    return tuple(lacking)


def merge_demands(demands: Iterable[Demand]) -> tuple[Demand, ...]:
    """Return one demand for each capability, with the largest quorum."""
    largest: dict[str, int] = {}
    for demand in demands:
        largest[demand.capability] = max(demand.quorum, largest.get(demand.capability, 0))
    return tuple(Demand(capability=capability, quorum=quorum) for capability, quorum in largest.items())


class ApprovalDecision(AttestedModel):
    """Payload of the Update and Signal `approve` and `deny`.

    `token` is an attestation signed by our issuer: who decides, in which tenant, what, bound to approval and digest.
    The body itself names no person.
    """

    approval: str
    action: Digest
    comment: str = Field("", max_length=2000)
    token: str


class DecisionResult(StrictModel):
    """Result of recording a decision."""

    approval: str
    state: ApprovalState
    decided_by: str | None = None
    problem: str | None = Field(None, description="Why the decision was refused; the approval is unchanged then.")
    missing: tuple[Demand, ...] = Field((), description="pending: how many more people each demand needs.")


class Escalate(StrictModel):
    """Input of the platform activity `approval.escalate`: the first `groups` groups may decide from now on."""

    approval: str
    groups: int = Field(ge=1)


class Expire(StrictModel):
    """Input of the platform activity `approval.expire`: its run waits no longer."""

    approval: str


class RaiseBudget(AttestedModel):
    """Payload of the Update and Signal `raise_budget`: amounts added to the run's limit."""

    amounts: Amounts
    token: str


class RaiseBudgetResult(StrictModel):
    limit: Amounts | None = None
    left: Amounts | None = None
    problem: str | None = None
