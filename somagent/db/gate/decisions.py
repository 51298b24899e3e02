"""People's decisions, taken only from an attestation that our issuer signed: an implementation of `ports.Decisions`.

Anybody who can signal a workflow may send the message that carries a decision, so the message names nobody. The token
says who decides, in which tenant and about what, and every claim of it must match.
"""

import datetime as dt
from dataclasses import dataclass

from capsules.approvals.approval import (
    Approval,
    ApprovalDecision,
    BudgetRaised,
    DecisionMade,
    Escalate,
    Expire,
    RaiseBudget,
)
from capsules.approvals.approval_edit import ApprovalEdit, EditMade
from capsules.approvals.approval_rules import Approver
from capsules.digest import Digest, canonical, digest
from capsules.errors import Denied, NotFound, SomaError
from somagent.db.database import Store
from somagent.db.transaction import Transaction
from somagent.identity.tokens import Attestation, Purpose, Tokens


@dataclass(frozen=True)
class PostgresDecisions:
    store: Store
    tokens: Tokens

    async def decide(self, run: str, tenant: str, decision: ApprovalDecision, *, approve: bool) -> DecisionMade:
        """Write a yes or no. A refusal comes back as `problem`, for the person; only Unavailable is raised."""
        try:
            said = self.tokens.verify_attestation(decision.token)
            _demand(said, tenant=tenant, run=run, purpose="approve" if approve else "deny")
            _same(said.approval, decision.approval, "approval")
            _same(said.action, decision.action, "action")
            approval = await self._write(said, decision, approve=approve)
        except SomaError as error:
            if error.retryable:
                raise
            return await self._refused(tenant, decision.approval, error)
        return DecisionMade(
            approval=approval.id, state=approval.state, decided_by=approval.decided_by, missing=approval.missing
        )

    async def edit(self, run: str, tenant: str, edit: ApprovalEdit, *, into: Digest) -> EditMade:
        """Close an approval because a person wants the action `into` instead.

        A refusal comes back as `problem`; only Unavailable is raised.
        """
        try:
            said = self.tokens.verify_attestation(edit.token)
            _demand(said, tenant=tenant, run=run, purpose="edit")
            _same(said.approval, edit.approval, "approval")
            _same(said.action, edit.action, "action")
            _same(said.arguments, digest(edit.arguments), "arguments")
            await self._edit(said, edit, into)
        except SomaError as error:
            if error.retryable:
                raise
            return EditMade(approval=edit.approval, problem=error.message)
        return EditMade(approval=edit.approval, action=into, edited_by=said.subject)

    async def escalate(self, tenant: str, request: Escalate) -> None:
        """Tell that the next groups may decide; what was decided meanwhile stays. Raises NotFound, Unavailable."""
        async with self.store.transaction(tenant) as tx:
            await tx.approvals.escalate(request.approval, groups=request.groups)

    async def expire(self, tenant: str, request: Expire) -> DecisionMade:
        """Close an approval that nobody decided; return how it stands. Raises NotFound, Unavailable."""
        async with self.store.transaction(tenant) as tx:
            approval = await tx.approvals.expire(request.approval)
        return DecisionMade(approval=approval.id, state=approval.state, decided_by=approval.decided_by)

    async def raise_budget(self, run: str, tenant: str, request: RaiseBudget, *, key: str) -> BudgetRaised:
        """Raise the run's limit, once for each key. A refusal comes back as `problem`; only Unavailable is raised."""
        try:
            said = self.tokens.verify_attestation(request.token)
            _demand(said, tenant=tenant, run=run, purpose="raise_budget", capability="budget:raise")
            _same(said.amounts, request.amounts, "amounts")
            async with self.store.transaction(tenant) as tx:
                account = await tx.accounts.raise_limit(f"run:{run}", request.amounts, key=key, by=said.subject)
        except SomaError as error:
            if error.retryable:
                raise
            return BudgetRaised(problem=error.message)
        return BudgetRaised(limit=account.limit, left=account.left)

    async def _write(self, said: Attestation, decision: ApprovalDecision, *, approve: bool) -> Approval:
        async with self.store.transaction(said.tenant) as tx:
            now = dt.datetime.now(dt.UTC)
            approval = await tx.approvals.lock(decision.approval, run=said.run)
            _same(approval.action, decision.action, "action of the approval")
            if _said_before(approval, said, approve=approve):
                return approval  # the same decision again: a retry of ours
            approver = await _approver(tx, said, now)
            return await tx.approvals.decide(approval, approver, approve=approve, comment=decision.comment, now=now)

    async def _edit(self, said: Attestation, edit: ApprovalEdit, into: Digest) -> None:
        async with self.store.transaction(said.tenant) as tx:
            now = dt.datetime.now(dt.UTC)
            approval = await tx.approvals.lock(edit.approval, run=said.run)
            _same(approval.action, edit.action, "action of the approval")
            if approval.state == "edited" and (approval.edited_to, approval.decided_by) == (into, said.subject):
                return  # the same edit again: a retry of ours
            receipt = {
                "action_digest": approval.action,
                "approval": approval.id,
                "comment": edit.comment,
                "edited_by": said.subject,
                "edited_to": into,
                "on_behalf_of": said.on_behalf_of,
            }
            await tx.approvals.edit(
                approval,
                await _approver(tx, said, now),
                to=into,
                receipt={name: canonical(value).decode() for name, value in receipt.items()},
                comment=edit.comment,
                now=now,
            )

    async def _refused(self, tenant: str, approval: str, error: SomaError) -> DecisionMade:
        try:
            async with self.store.transaction(tenant) as tx:
                known = await tx.approvals.get(approval)
        except NotFound:
            # Nothing was decided about it, which is what pending says; the problem says the rest.
            return DecisionMade(approval=approval, state="pending", problem=error.message)
        return DecisionMade(approval=approval, state=known.state, decided_by=known.decided_by, problem=error.message)


async def _approver(tx: Transaction, said: Attestation, now: dt.datetime) -> Approver:
    """Return who answers: with what the token says they hold, or with what was lent to them and holds now."""
    if said.on_behalf_of is None:
        return Approver(said.subject, said.capabilities)
    lent = await tx.delegations.lent(said.subject, now, owner=said.on_behalf_of)
    if not lent:
        raise Denied(f"{said.on_behalf_of!r} has lent {said.subject!r} nothing that they hold now.")
    return Approver(said.subject, lent[said.on_behalf_of], said.on_behalf_of)


def _said_before(approval: Approval, said: Attestation, *, approve: bool) -> bool:
    who = (said.subject, said.on_behalf_of)
    wanted = "yes" if approve else "no"
    # A yes of before is not the answer to a person who says no now, nor to one whose yes was overruled.
    standing = approval.state in ({"pending", "approved", "used"} if approve else {"denied"})
    return standing and any((a.by, a.on_behalf_of) == who and a.said == wanted for a in approval.answers)


def _demand(said: Attestation, *, tenant: str, run: str, purpose: Purpose, capability: str | None = None) -> None:
    _same(said.tenant, tenant, "tenant")
    _same(said.run, run, "run")
    _same(said.purpose, purpose, "purpose")
    if capability and capability not in said.capabilities:
        raise Denied(f"{said.subject!r} lacks the capability {capability!r}.")


def _same(attested: object, wanted: object, what: str) -> None:
    if attested != wanted:
        raise Denied(f"The token is for the {what} {attested!r}, not for {wanted!r}. Ask for a new one.")
