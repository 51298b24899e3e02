"""Eligibility: who may answer an approval; and the port that records an answer after checking it.

The API checks eligibility first, and the adapter of the port again in the transaction that writes.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from capsules.approvals.approval import (
    AnswerKind,
    Approval,
    ApprovalDecision,
    DecisionResult,
    Escalate,
    Expire,
    RaiseBudget,
    RaiseBudgetResult,
)
from capsules.approvals.approval_edit import ApprovalEdit, EditResult
from capsules.digest import Digest
from capsules.errors import Conflict, Denied, SomaError


@dataclass(frozen=True)
class Approver:
    """A person who answers, with their own capabilities or a delegated one."""

    subject: str
    capabilities: frozenset[str]
    on_behalf_of: str | None = None


def check_eligibility(approval: Approval, approver: Approver, said: AnswerKind, now: datetime) -> None:
    """Check that a person may give this answer now.

    Raises Conflict when the approval is not pending any more. Raises Denied for the requester and for who acts for them
    (separation of duties), without a demanded capability, and for a second approval with one person's right.
    """
    person, owner = approver.subject, approver.on_behalf_of
    if approval.requested_by in {person, owner}:
        how = f"{owner!r}, represented by {person!r}," if owner == approval.requested_by else repr(person)
        raise Denied(f"Separation of duties: {how} asked for this action and cannot decide it.", approval=approval.id)
    if approval.state == "expired" or approval.expires_at <= now:
        raise Conflict(f"Approval {approval.id!r} expired at {approval.expires_at.isoformat()}.", state="expired")
    if approval.state != "pending":
        who = f" by {approval.decided_by!r}" if approval.decided_by else ""
        raise Conflict(
            f"Approval {approval.id!r} is {approval.state}{who} already.", approval=approval.id, state=approval.state
        )
    if not approval.may_decide(approver.capabilities, now):
        wanted = " or ".join(repr(demand.capability) for demand in approval.demands)
        raise Denied(f"{person!r} lacks the capability {wanted} that this approval needs.", approval=approval.id)
    if said == "yes":
        for name in (person, *([owner] if owner else [])):
            if before := approval.approval_by(name):
                through = f" through {before.by!r}" if before.by != name else ""
                raise Denied(f"{name!r} approved already{through}; different people must.", approval=approval.id)


def can_approve(approval: Approval, approver: Approver, now: datetime) -> bool:
    """Return whether this person could approve now."""
    try:
        check_eligibility(approval, approver, "yes", now)
    except SomaError:
        return False
    return True


class ApprovalDecisions(Protocol):
    """Port that records people's decisions after checking their tokens."""

    async def decide(self, run: str, tenant: str, decision: ApprovalDecision, *, approve: bool) -> DecisionResult: ...

    async def edit(self, run: str, tenant: str, edit: ApprovalEdit, *, into: Digest) -> EditResult: ...

    async def escalate(self, tenant: str, request: Escalate) -> None: ...

    async def expire(self, tenant: str, request: Expire) -> DecisionResult: ...

    async def raise_budget(self, run: str, tenant: str, request: RaiseBudget) -> RaiseBudgetResult: ...
