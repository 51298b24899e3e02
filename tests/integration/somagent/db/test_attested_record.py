"""The auditor of decisions against a real record: each is matched with its attestation, and an invented one is named."""

import datetime as dt
import json
from dataclasses import dataclass
from pathlib import Path

import pytest
from constitutions import key_ring
from decisions import attack, attest, decide, give_grant, install_constitution, lend, open_run_account, propose
from ledger_messages import CONSTITUTION, begin_effect, key, run_id
from sealer_keys import SealerKeys

from capsules.approvals.approval import RaiseBudget
from capsules.approvals.delegation import DelegationRequest
from capsules.approvals.standing_grant import GrantRequest
from capsules.audit.attestations import DecisionAuditor
from capsules.audit.auditor import Auditor, VerificationError, group_by_block
from capsules.budgets.amounts import Amounts
from capsules.identity.principal import Principal
from somagent.db.database import Database
from somagent.db.gate.approvals import PostgresApprovalDecisions
from somagent.db.repositories.audit_blocks import BlockWriter
from somagent.identity.keys import KeyRing
from somagent.settings import Settings

YES = {"by": "hedy", "said": "yes", "capabilities": ["approval:decide"], "escalated": False}
GRANT = GrantRequest(scope="action.kind == 'tool.invoke'", uses=1, expires_seconds=600, reason="nightly")


def ask(tenant: str, run: str):
    return begin_effect(key(tenant, run, "a"), decision="ask")


@dataclass(frozen=True)
class Auditing:
    """The audit of one tenant as `somagent audit verify` does it: blocks by a sealer, decisions by the issuer's keys."""

    db: Database
    blocks: BlockWriter
    sealer: SealerKeys
    keys: KeyRing

    async def proved(self, tenant: str) -> int:
        """Return how many decisions are proved. Raises VerificationError for the first record that is not."""
        while await self.blocks.close_block(tenant, self.sealer.sign, most=1000):
            pass
        async with self.db.transaction(tenant) as tx:
            sealed, records = await tx.audit.blocks(), await tx.audit.records(limit=5000)
            tokens = [one.token for one in await tx.attestations.after()]
        decisions = DecisionAuditor(tenant, tokens, self.checks)
        auditor = Auditor(tenant, self.sealer.checks, decisions.read)
        for block, own in group_by_block(sealed, records):
            auditor.check_block(block, own)
        decisions.finish()
        return decisions.proved

    def checks(self, key_id: str, text_: str, signature: str) -> bool:
        return self.keys.verify("issuer", key_id, text_.encode(), signature)


@pytest.fixture
def auditing(db: Database, blocks: BlockWriter, postgres_settings: Settings, tmp_path: Path) -> Auditing:
    return Auditing(db, blocks, SealerKeys(tmp_path), key_ring(postgres_settings))


async def _decide_much(db: Database, owner: Database, ledger, tenant: str) -> str:
    """Approve and use, edit nothing, grant and use, lend, raise and revoke; return the run."""
    run = await open_run_account(db, tenant)
    asked = (await ledger.begin(ask(tenant, run))).approval
    await decide(db, tenant, asked.id)
    assert (await ledger.begin(ask(tenant, run))).status == "go"
    grant = await give_grant(db, tenant, GRANT, constitution=CONSTITUTION)
    assert (
        await ledger.begin(ask(tenant, run_id(tenant)).model_copy(update={"matching_grants": (grant.id,)}))
    ).status == "go"
    async with db.transaction(tenant) as tx:
        for subject in ("grace", "ben"):
            held = frozenset({"approval:decide"})
            await tx.principals.add(Principal(tenant=tenant, subject=subject, capabilities=held))
    lent = await lend(db, tenant, DelegationRequest(capability="approval:decide", to="ben"))
    now = dt.datetime.now(dt.UTC)
    async with db.transaction(tenant) as tx:
        token = attest(db, tenant, "revoke_delegation", record=lent.id)
        await tx.delegations.revoke(lent.id, by="grace", token=token, now=now)
        token = attest(db, tenant, "revoke_grant", record=grant.id)
        await tx.standing_grants.revoke(grant.id, by="grace", token=token, now=now)
    claims = {"run": run, "amounts": Amounts(tokens=5), "record": f"{run}/raise/1"}
    token = attest(db, tenant, "raise_budget", held=frozenset({"budget:raise"}), **claims)
    request = RaiseBudget(amounts=Amounts(tokens=5), token=token)
    await PostgresApprovalDecisions(db, db.tokens).raise_budget(run, tenant, request)
    change = (await install_constitution(owner, "audited")).model_copy(update={"scope": tenant})
    await propose(db, tenant, change, "grace", id_=f"{tenant}-a")
    return run


async def test_the_auditor_matches_every_decision_with_its_attestation(db, owner, ledger, tenant, auditing):
    await _decide_much(db, owner, ledger, tenant)
    # answered and its use, given and its use, lent, two revoked, raised, proposed, approved
    assert await auditing.proved(tenant) == 10


FORGED = (
    ("UPDATE approvals SET answers = answers || jsonb_build_array(CAST(:yes AS jsonb))", "approval.answered"),
    (
        (
            "INSERT INTO delegations (tenant_id, id, capability, delegator, delegate, starts_at, ends_at) "
            "VALUES (:tenant, 'f', 'approval:decide', 'grace', 'ben', now(), now() + interval '1 day')"
        ),
        "delegation.given",
    ),
    (
        (
            "INSERT INTO standing_grants (tenant_id, id, scope, capability, reason, constitution, granted_by, expires_at, "
            "uses, uses_left) VALUES (:tenant, 'f', 'true', 'approval:decide', 'x', 'x', 'grace', now(), 9, 9)"
        ),
        "grant.given",
    ),
    (
        "SELECT account_raise('run:' || :run, '{\"tokens\": 1, \"micro_usd\": 0, \"tool_calls\": 0}', 'f', 'grace')",
        "budget.raised",
    ),
    ("UPDATE constitution_proposals SET approved_by = approved_by || '{hedy}'", "constitution.approved"),
)


@pytest.mark.parametrize(("statement", "named"), FORGED, ids=[named for _, named in FORGED])
async def test_the_auditor_names_a_decision_that_was_written_by_sql(  # noqa: PLR0917 - a case
    db, owner, ledger, tenant, auditing, statement, named
):
    run = await _decide_much(db, owner, ledger, tenant)
    values = {"yes": json.dumps(YES), "run": run}
    await attack(db, tenant, statement, **{name: value for name, value in values.items() if f":{name}" in statement})
    with pytest.raises(VerificationError, match=rf"\({named}\)"):
        await auditing.proved(tenant)
