"""What people decide, taken only from an attestation that our issuer signed: an implementation of `ports.Decisions`.

The message that carries a decision may come from anybody who can signal a workflow, so it names nobody. Who decides,
in which tenant and about what stands in the token, and every word of it must fit.
"""

import datetime as dt
from dataclasses import dataclass
from typing import Protocol

from capsules.amounts import Amounts
from capsules.approval import Approval, ApprovalDecision, BudgetRaised, DecisionMade, RaiseBudget
from capsules.errors import Denied, NotFound, SomaError
from somagent.store.database import Store


class Attestation(Protocol):
    """Who says what, as verified."""

    @property
    def tenant(self) -> str: ...
    @property
    def subject(self) -> str: ...
    @property
    def capabilities(self) -> frozenset[str]: ...
    @property
    def purpose(self) -> str: ...
    @property
    def run(self) -> str: ...
    @property
    def approval(self) -> str | None: ...
    @property
    def action(self) -> str | None: ...
    @property
    def amounts(self) -> Amounts | None: ...


class AttestationVerifier(Protocol):
    def verify_attestation(self, token: str) -> Attestation:
        """Return the attestation. Raises Unauthenticated when it is forged, expired or of another kind."""
        ...


@dataclass(frozen=True)
class PostgresDecisions:
    store: Store
    tokens: AttestationVerifier

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
        return DecisionMade(approval=approval.id, state=approval.state, decided_by=approval.decided_by)

    async def raise_budget(self, run: str, tenant: str, request: RaiseBudget, *, key: str) -> BudgetRaised:
        """Raise the run's limit, once for each key. A refusal comes back as `problem`."""
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
            approval = await tx.approvals.get(decision.approval)
            _same(approval.run, said.run, "run of the approval")
            _same(approval.action, decision.action, "action of the approval")
            if approval.capability not in said.capabilities:
                raise Denied(f"{said.subject!r} lacks the capability {approval.capability!r} that this approval needs.")
            settled = {"approved", "used"} if approve else {"denied"}
            if approval.state in settled and approval.decided_by == said.subject:
                return approval  # the same decision again: a retry of ours
            return await tx.approvals.decide(
                approval.id,
                approve=approve,
                by=said.subject,
                comment=decision.comment,
                now=dt.datetime.now(dt.UTC),
            )

    async def _refused(self, tenant: str, approval: str, error: SomaError) -> DecisionMade:
        try:
            async with self.store.transaction(tenant) as tx:
                known = await tx.approvals.get(approval)
        except NotFound:
            # Nothing was decided about it, which is what pending says; the problem says the rest.
            return DecisionMade(approval=approval, state="pending", problem=error.message)
        return DecisionMade(approval=approval, state=known.state, decided_by=known.decided_by, problem=error.message)


def _demand(said: Attestation, *, tenant: str, run: str, purpose: str, capability: str | None = None) -> None:
    _same(said.tenant, tenant, "tenant")
    _same(said.run, run, "run")
    _same(said.purpose, purpose, "purpose")
    if capability and capability not in said.capabilities:
        raise Denied(f"{said.subject!r} lacks the capability {capability!r}.")


def _same(attested: object, wanted: object, what: str) -> None:
    if attested != wanted:
        raise Denied(f"The token is for the {what} {attested!r}, not for {wanted!r}. Ask for a new one.")
