"""Decisions of people about approvals and budgets, only from a signed attestation: implements `ApprovalDecisions`.

Anybody who can signal a workflow can send a message with a decision, so the message itself proves nothing. Its token
says who decides, in which tenant and about what, and each claim of the token must match the message.
"""

import datetime as dt
from dataclasses import dataclass

from capsules.approvals.approval import (
    Approval,
    ApprovalDecision,
    DecisionResult,
    Escalate,
    Expire,
    RaiseBudget,
    RaiseBudgetResult,
)
from capsules.approvals.approval_edit import ApprovalEdit, EditResult
from capsules.approvals.eligibility import Approver
from capsules.digest import Digest, digest, sha256
from capsules.errors import Denied, NotFound, SomaError
from somagent.db.database import Database
from somagent.db.gate.ledger import canonical_parts
from somagent.db.transaction import Transaction
from somagent.identity.tokens import Attestation, Tokens


@dataclass(frozen=True)
class PostgresApprovalDecisions:
    """Verifies attestations and writes what they decide, each in one transaction."""

    db: Database
    tokens: Tokens

    async def decide(self, run: str, tenant: str, decision: ApprovalDecision, *, approve: bool) -> DecisionResult:
        """Write a yes or no. A refusal comes back as `problem`, for the person; only Unavailable is raised."""
        try:
            token = self.tokens.verify_attestation(decision.token)
            token.require(tenant=tenant, run=run, purpose="approve" if approve else "deny")
            token.require(approval=decision.approval, action=decision.action)
            approval = await self._write(token, decision, approve=approve)
        except SomaError as error:
            if error.retryable:
                raise
            return await self._describe_refusal(tenant, decision.approval, error)
        return DecisionResult(
            approval=approval.id, state=approval.state, decided_by=approval.decided_by, missing=approval.missing
        )

    async def edit(self, run: str, tenant: str, edit: ApprovalEdit, *, into: Digest) -> EditResult:
        """Close an approval because a person wants the action `into` instead.

        A refusal comes back as `problem`; only Unavailable is raised.
        """
        try:
            token = self.tokens.verify_attestation(edit.token)
            token.require(tenant=tenant, run=run, purpose="edit", approval=edit.approval)
            token.require(action=edit.action, arguments=digest(edit.arguments))
            await self._edit(token, edit, into)
        except SomaError as error:
            if error.retryable:
                raise
            return EditResult(approval=edit.approval, problem=error.message)
        return EditResult(approval=edit.approval, action=into, edited_by=token.subject)

    async def escalate(self, tenant: str, request: Escalate) -> None:
        """Let the next groups decide too, unless it was decided meanwhile. Raises NotFound, Unavailable."""
        async with self.db.transaction(tenant) as tx:
            await tx.approvals.escalate(request.approval, groups=request.groups)

    async def expire(self, tenant: str, request: Expire) -> DecisionResult:
        """Close an approval that nobody decided and return its state. Raises NotFound, Unavailable."""
        async with self.db.transaction(tenant) as tx:
            approval = await tx.approvals.expire(request.approval)
        return DecisionResult(approval=approval.id, state=approval.state, decided_by=approval.decided_by)

    async def raise_budget(self, run: str, tenant: str, request: RaiseBudget) -> RaiseBudgetResult:
        """Raise the run's limit, once for each attested raise, however often its message comes.

        A refusal comes back as `problem`; only Unavailable is raised.
        """
        try:
            token = self.tokens.verify_attestation(request.token)
            token.require(tenant=tenant, run=run, purpose="raise_budget")
            token.require_capability("budget:raise")
            token.require(amounts=request.amounts)
            if token.record is None:
                raise Denied("The token names no raise. Ask for a new one.")
            async with self.db.transaction(tenant) as tx:
                await tx.attestations.use(request.token)
                account = await tx.accounts.raise_limit(
                    f"run:{run}", request.amounts, key=token.record, by=token.subject
                )
        except SomaError as error:
            if error.retryable:
                raise
            return RaiseBudgetResult(problem=error.message)
        return RaiseBudgetResult(limit=account.limit, left=account.left)

    async def _write(self, token: Attestation, decision: ApprovalDecision, *, approve: bool) -> Approval:
        async with self.db.transaction(token.tenant) as tx:
            now = dt.datetime.now(dt.UTC)
            approval = await tx.approvals.lock(decision.approval, run=token.run)
            token.require(action=approval.action)
            if _is_repeated(approval, token, approve=approve):
                return approval  # the same decision again: a retry of ours
            approver = await _approver(tx, token, now)
            return await tx.approvals.decide(
                approval, approver, approve=approve, token=decision.token, comment=decision.comment, now=now
            )

    async def _edit(self, token: Attestation, edit: ApprovalEdit, into: Digest) -> None:
        async with self.db.transaction(token.tenant) as tx:
            now = dt.datetime.now(dt.UTC)
            approval = await tx.approvals.lock(edit.approval, run=token.run)
            token.require(action=approval.action)
            if approval.state == "edited" and (approval.edited_to, approval.decided_by) == (into, token.subject):
                return  # the same edit again: a retry of ours
            receipt = {
                "action_digest": approval.action,
                "approval": approval.id,
                "attestation": sha256(edit.token.encode()),
                "comment": edit.comment,
                "edited_by": token.subject,
                "edited_to": into,
                "on_behalf_of": token.on_behalf_of,
            }
            await tx.approvals.edit(
                approval,
                await _approver(tx, token, now),
                to=into,
                receipt=canonical_parts(receipt),
                token=edit.token,
                comment=edit.comment,
                now=now,
            )

    async def _describe_refusal(self, tenant: str, approval: str, error: SomaError) -> DecisionResult:
        try:
            async with self.db.transaction(tenant) as tx:
                known = await tx.approvals.get(approval)
        except NotFound:
            return DecisionResult(approval=approval, state="pending", problem=error.message)
        return DecisionResult(approval=approval, state=known.state, decided_by=known.decided_by, problem=error.message)


async def _approver(tx: Transaction, token: Attestation, now: dt.datetime) -> Approver:
    """Return who decides, with their own capabilities, or with those lent by `on_behalf_of` now. Raises Denied."""
    if token.on_behalf_of is None:
        return Approver(token.subject, token.capabilities)
    # Only what is lent now, and was when the attestation was signed.
    lent = await tx.delegations.lent_capabilities(token.subject, now, owner=token.on_behalf_of)
    if not lent:
        raise Denied(f"{token.on_behalf_of!r} has lent {token.subject!r} nothing that they hold now.")
    return Approver(token.subject, lent[token.on_behalf_of] & token.capabilities, token.on_behalf_of)


def _is_repeated(approval: Approval, token: Attestation, *, approve: bool) -> bool:
    """Return whether this person's same answer is recorded and still counts."""
    who = (token.subject, token.on_behalf_of)
    wanted = "yes" if approve else "no"
    # An earlier yes does not repeat a no, and a yes that was overruled does not count.
    counts = approval.state in ({"pending", "approved", "used"} if approve else {"denied"})
    return counts and any((a.by, a.on_behalf_of) == who and a.said == wanted for a in approval.answers)
