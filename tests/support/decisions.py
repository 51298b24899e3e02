"""Decisions of people in tests of the database: each with the attestation that the API would sign for it."""

import datetime as dt
import math
from typing import Any

from ledger_messages import next_number

from capsules.approvals.approval import Approval
from capsules.approvals.delegation import Delegation, DelegationRequest
from capsules.approvals.eligibility import Approver
from capsules.approvals.standing_grant import GrantRequest, StandingGrant
from capsules.constitutions.proposal import Change
from capsules.digest import Digest
from somagent.db.database import Database
from somagent.identity.proofs import GrantRow
from somagent.identity.tokens import Attestation, AttestationPurpose

DECIDES = "approval:decide"


def attest(
    db: Database,
    tenant: str,
    purpose: AttestationPurpose,
    by: str = "grace",
    held: frozenset[str] = frozenset({DECIDES}),
    **claims: Any,
) -> str:
    """Return the attestation of a decision, signed by the issuer's key of this database's key ring."""
    return db.tokens.mint_attestation(
        Attestation(tenant=tenant, subject=by, capabilities=held, purpose=purpose, **claims)
    )


def attest_answer(
    db: Database,
    tenant: str,
    approval: Approval,
    approver: Approver,
    purpose: AttestationPurpose,
    *,
    now: dt.datetime,
    **claims: Any,
) -> str:
    """Return the attestation of an answer to an approval."""
    return attest(
        db,
        tenant,
        purpose,
        approver.subject,
        approver.capabilities,
        run=approval.run,
        approval=approval.id,
        action=approval.action,
        target=approval.target,
        on_behalf_of=approver.on_behalf_of,
        until=math.ceil(approval.expires_at.timestamp()),
        escalated=approval.escalated_to(approver.capabilities, now),
        **claims,
    )


async def decide(
    db: Database,
    tenant: str,
    approval: str,
    by: str = "grace",
    *held: str,
    approve: bool = True,
    comment: str = "",
    now: dt.datetime | None = None,
) -> Approval:
    """Write a person's answer. held: their capabilities; none: `approval:decide`."""
    moment, approver = now or dt.datetime.now(dt.UTC), Approver(by, frozenset(held or {DECIDES}))
    async with db.transaction(tenant) as tx:
        locked = await tx.approvals.lock(approval)
        token = attest_answer(db, tenant, locked, approver, "approve" if approve else "deny", now=moment)
        return await tx.approvals.decide(locked, approver, approve=approve, token=token, comment=comment, now=moment)


async def give_grant(
    db: Database, tenant: str, request: GrantRequest, *, constitution: Digest, by: str = "grace"
) -> StandingGrant:
    """Give a standing grant."""
    now = dt.datetime.now(dt.UTC)
    terms = request.model_dump(exclude={"expires_seconds"})
    until = now + dt.timedelta(seconds=request.expires_seconds)
    row = GrantRow(id=f"g{next_number()}", constitution=constitution, granted_by=by, expires_at=until, **terms)
    token = attest(db, tenant, "grant", by, frozenset({request.capability}), record=row.id, terms=row.terms())
    async with db.transaction(tenant) as tx:
        return await tx.standing_grants.give(row, token=token, now=now)


async def lend(db: Database, tenant: str, request: DelegationRequest, *, by: str = "grace") -> Delegation:
    """Delegate a capability."""
    now = dt.datetime.now(dt.UTC)
    async with db.transaction(tenant) as tx:
        prepared = await tx.delegations.prepare(request, by=by, now=now)
        held = frozenset({request.capability})
        token = attest(db, tenant, "delegate", by, held, record=prepared.id, terms=prepared.terms())
        return await tx.delegations.give(prepared, token=token, now=now)


def attest_proposal(db: Database, tenant: str, id_: str, change: Change, *, by: str = "ada", quorum: int = 1) -> str:
    """Return the attestation of a proposal."""
    terms = {"change": change.model_dump(mode="json"), "quorum": quorum}
    claims = {"run": f"{tenant}/_constitution/{id_}", "action": change.digest(), "record": id_, "terms": terms}
    return attest(db, tenant, "propose_constitution", by, frozenset({"constitution:propose"}), **claims)


def attest_vote(db: Database, tenant: str, id_: str, change: Change, *, by: str, approve: bool = True) -> str:
    """Return the attestation of a vote about a proposal."""
    claims = {"run": f"{tenant}/_constitution/{id_}", "action": change.digest(), "record": id_}
    purpose: AttestationPurpose = "approve_constitution" if approve else "reject_constitution"
    return attest(db, tenant, purpose, by, frozenset({"constitution:approve"}), **claims)
