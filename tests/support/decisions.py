"""Decisions of people in tests of the database: each with the attestation that the API would sign for it."""

import datetime as dt
import math
from typing import Any

from ledger_messages import constitution, next_number, run_id
from sqlalchemy import text

from capsules.approvals.approval import Approval
from capsules.approvals.delegation import Delegation, DelegationRequest
from capsules.approvals.eligibility import Approver
from capsules.approvals.standing_grant import GrantRequest, StandingGrant
from capsules.budgets.amounts import Amounts
from capsules.constitutions.proposal import Change
from capsules.digest import Digest, digest
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


async def attack(db: Database, tenant: str, *statements: str, **values: object) -> None:
    """Run statements as the application's role, in the tenant `:tenant`."""
    async with db.transaction(tenant) as tx:
        for statement in statements:
            await tx.connection.execute(text(statement), values | {"tenant": tenant})


async def open_run_account(db: Database, tenant: str) -> str:
    """Return a new run with an account of ten tokens."""
    run = run_id(tenant)
    async with db.transaction(tenant) as tx:
        await tx.accounts.ensure("root", Amounts(tokens=1000))
        await tx.accounts.carve("root", f"run:{run}", Amounts(tokens=10))
    return run


async def install_constitution(owner: Database, name: str) -> Change:
    """Install a constitution; return the change that activates it."""
    document = {"kind": "Constitution", "metadata": {"name": name, "version": f"1.0.{next_number()}"}}
    await owner.constitutions.install(constitution(dt.datetime.now(dt.UTC), document=document))
    return Change(constitution=digest(document), scope="*", narrows=False)


async def propose(db: Database, tenant: str, change: Change, *voters: str, id_: str) -> None:
    """Propose a change and vote for it."""
    until = dt.datetime.now(dt.UTC) + dt.timedelta(hours=1)
    token = attest_proposal(db, tenant, id_, change)
    async with db.transaction(tenant) as tx:
        await tx.proposals.enter(
            id_, change, request=change.digest(), by="ada", quorum=1, expires_at=until, token=token
        )
        await tx.proposals.update(id_, since=await db.constitutions.newest_activation(), state="awaiting_approval")
        for voter in voters:
            vote = attest_vote(db, tenant, id_, change, by=voter)
            await tx.proposals.record_vote(id_, approve=True, by=voter, token=vote, comment="")
