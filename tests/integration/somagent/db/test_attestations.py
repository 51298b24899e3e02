"""Attacks with the application's database role on the decisions of people: what no attestation proves does not count."""

import datetime as dt
import json

import pytest
from decisions import (
    attack,
    attest,
    decide,
    give_grant,
    install_constitution,
    lend,
    open_run_account,
    propose,
)
from ledger_messages import CONSTITUTION, begin_effect, key, run_id

from capsules.actions.verdict import Demand
from capsules.approvals.approval import ApprovalDecision, RaiseBudget
from capsules.approvals.delegation import DelegationRequest
from capsules.approvals.standing_grant import GrantRequest
from capsules.budgets.amounts import Amounts
from capsules.digest import digest
from capsules.errors import AuthorityRefused, Conflict, ConstitutionRefused
from capsules.identity.principal import Principal
from somagent.db.gate.approvals import PostgresApprovalDecisions
from somagent.identity.keys import KeyRing
from somagent.identity.tokens import Attestation, Tokens

YES = {
    "by": "approver",
    "said": "yes",
    "on_behalf_of": None,
    "capabilities": ["approval:decide"],
    "escalated": False,
    "comment": "",
    "at": "2030-01-01T00:00:00Z",
}


def ask(tenant: str, run: str, activity: str = "a", **rest):
    return begin_effect(key(tenant, run, activity), decision="ask", **rest)


APPROVE = (
    "UPDATE approvals SET state = 'approved', decided_by = 'approver', answers = CAST(:yes AS jsonb) WHERE id = :id"
)


async def test_an_approval_that_is_flipped_in_the_table_lets_nothing_begin_and_is_named(db, ledger, tenant):
    run = run_id(tenant)
    asked = (await ledger.begin(ask(tenant, run))).approval
    await attack(db, tenant, APPROVE, id=asked.id, yes=json.dumps([YES]))
    begun = await ledger.begin(ask(tenant, run))
    assert begun.status == "ask"
    assert begun.approval.id != asked.id
    assert (
        f"Approval {asked.id!r} does not count: Attestations of 1 with 'approval:decide' are missing." in begun.sentence
    )


async def test_an_approval_is_used_once_whatever_its_row_says(db, ledger, tenant):
    run = run_id(tenant)
    asked = (await ledger.begin(ask(tenant, run))).approval
    await decide(db, tenant, asked.id)
    assert (await ledger.begin(ask(tenant, run))).status == "go"
    await attack(db, tenant, "UPDATE approvals SET state = 'approved', used_by = NULL WHERE id = :id", id=asked.id)
    assert (await ledger.begin(ask(tenant, run, "b"))).status == "ask"


async def test_an_approval_ends_when_it_was_to_end_whatever_its_row_says(db, ledger, tenant):
    run = run_id(tenant)
    asked = (await ledger.begin(ask(tenant, run, expires_seconds=1))).approval
    await decide(db, tenant, asked.id)
    later = "UPDATE approvals SET expires_at = expires_at + interval '1 day' WHERE id = :id"
    await attack(db, tenant, later, "SELECT pg_sleep(2.1)", id=asked.id)
    begun = await ledger.begin(ask(tenant, run))
    assert begun.status == "ask"
    assert "The approval of 'grace' has expired." in begun.sentence


async def test_a_no_stays_a_no_whatever_its_row_says(db, ledger, tenant):
    run, demands = run_id(tenant), (Demand(quorum=2),)
    asked = (await ledger.begin(ask(tenant, run, demands=demands))).approval
    await decide(db, tenant, asked.id, "grace")
    await decide(db, tenant, asked.id, "hedy", approve=False)
    answers = json.dumps([YES | {"by": "grace"}, YES])
    await attack(db, tenant, APPROVE, id=asked.id, yes=answers)
    begun = await ledger.begin(ask(tenant, run))  # even where one would be enough now
    assert begun.status == "ask"
    assert "'hedy' said 'deny'" in begun.sentence


async def test_the_capabilities_that_count_are_those_of_the_attestation(db, ledger, tenant):
    run, demands = run_id(tenant), (Demand(capability="approval:finance"),)
    asked = (await ledger.begin(ask(tenant, run))).approval
    await decide(db, tenant, asked.id)
    for change in ('"capabilities": ["approval:decide", "approval:finance"]', '"escalated": true'):
        raised = f"UPDATE approvals SET answers = jsonb_build_array(answers->0 || '{{{change}}}'::jsonb) WHERE id = :id"
        async with db.transaction(tenant) as tx:
            await tx.connection.exec_driver_sql(raised.replace(":id", f"'{asked.id}'"))
        assert (await ledger.begin(ask(tenant, run, demands=demands))).status == "ask"


async def test_an_attestation_of_another_issuer_proves_nothing_and_hinders_no_genuine_one(db, ledger, tenant, tmp_path):
    run = run_id(tenant)
    forger = Tokens(KeyRing.create_missing(tmp_path / "keys"))
    asked = (await ledger.begin(ask(tenant, run))).approval
    said = Attestation(
        tenant=tenant,
        subject="approver",
        capabilities=frozenset({"approval:decide"}),
        purpose="approve",
        run=run,
        approval=asked.id,
        action=asked.action,
    )
    await attack(db, tenant, "SELECT attestation_use(:token)", token=forger.mint_attestation(said))
    await attack(db, tenant, APPROVE, id=asked.id, yes=json.dumps([YES]))
    begun = await ledger.begin(ask(tenant, run))
    assert begun.status == "ask"
    await attack(
        db,
        tenant,
        "SELECT attestation_use(:token)",
        token=forger.mint_attestation(said.model_copy(update={"approval": begun.approval.id, "purpose": "deny"})),
    )
    await decide(db, tenant, begun.approval.id)
    assert (await ledger.begin(ask(tenant, run))).status == "go"


async def test_attestations_are_recorded_by_their_function_only_in_time_and_for_good(db, owner, tenant):
    old = int(dt.datetime.now(dt.UTC).timestamp()) - 600
    said = Attestation(tenant=tenant, subject="a", capabilities=frozenset(), purpose="grant", record="x")
    with pytest.raises(Conflict, match="has expired"):
        await attack(db, tenant, "SELECT attestation_use(:t)", t=db.tokens.mint_attestation(said, issued_at=old))
    with pytest.raises(Conflict, match="is of tenant"):
        await attack(db, "other", "SELECT attestation_use(:t)", t=db.tokens.mint_attestation(said))
    insert = (
        "INSERT INTO attestations (tenant_id, id, purpose, subject, record, token, digest, used_at) "
        "VALUES (:tenant, 'x', 'grant', 'a', 'x', 'x', 'x', now())"
    )
    with pytest.raises(Exception, match="permission denied"):
        await attack(db, tenant, insert)
    await attack(db, tenant, "SELECT attestation_use(:t)", t=db.tokens.mint_attestation(said))
    for statement in ("UPDATE attestations SET used_at = now()", "DELETE FROM attestations"):
        with pytest.raises(Exception, match="permission denied"):
            await attack(db, tenant, statement)
        with pytest.raises(Conflict, match="never changed or deleted"):
            await attack(owner, tenant, statement)


GRANT = GrantRequest(scope="action.kind == 'tool.invoke'", uses=1, expires_seconds=600, reason="nightly")


def under(tenant: str, grant: str, **rest):
    return ask(tenant, run_id(tenant), **rest).model_copy(update={"matching_grants": (grant,)})


async def test_a_standing_grant_that_is_written_into_the_table_lets_nothing_begin(db, ledger, tenant):
    insert = (
        "INSERT INTO standing_grants (tenant_id, id, scope, capability, reason, constitution, granted_by, expires_at, "
        "uses, uses_left) VALUES (:tenant, :id, 'true', 'approval:decide', 'x', :constitution, 'approver', "
        "now() + interval '1 day', 9, 9)"
    )
    await attack(db, tenant, insert, id="forged", constitution=CONSTITUTION)
    begun = await ledger.begin(under(tenant, "forged"))
    assert begun.status == "ask"
    assert "Standing grant 'forged' does not count: It has no valid attestation." in begun.sentence


async def test_a_standing_grant_allows_what_was_attested_so_often_and_no_more(db, ledger, tenant):
    grant = await give_grant(db, tenant, GRANT, constitution=CONSTITUTION)
    assert (await ledger.begin(under(tenant, grant.id))).status == "go"
    for change in ("uses_left = 1", "uses = 9, uses_left = 8", "scope = 'true'"):
        with pytest.raises(Exception, match=r"never changed otherwise|permission denied"):
            await attack(db, tenant, f"UPDATE standing_grants SET {change}")
    assert (await ledger.begin(under(tenant, grant.id))).status == "ask"
    stale = await give_grant(db, tenant, GRANT, constitution=digest("before"))
    move = "UPDATE standing_grants SET constitution = :now WHERE id = :id"
    await attack(db, tenant, move, id=stale.id, now=CONSTITUTION)
    assert (await ledger.begin(under(tenant, stale.id))).status == "ask"


async def test_a_revoked_grant_stays_revoked(db, ledger, tenant):
    grant = await give_grant(db, tenant, GRANT, constitution=CONSTITUTION)
    async with db.transaction(tenant) as tx:
        token = attest(db, tenant, "revoke_grant", record=grant.id)
        await tx.standing_grants.revoke(grant.id, by="grace", token=token, now=dt.datetime.now(dt.UTC))
    with pytest.raises(Conflict, match="never changed otherwise"):
        await attack(db, tenant, "UPDATE standing_grants SET revoked_at = NULL, revoked_by = NULL")
    assert (await ledger.begin(under(tenant, grant.id))).status == "ask"


async def test_a_delegation_that_is_written_into_the_table_lends_nothing(db, ledger, tenant):
    async with db.transaction(tenant) as tx:
        for subject, held in (("grace", {"approval:decide"}), ("ben", {"run:read"})):
            await tx.principals.add(Principal(tenant=tenant, subject=subject, capabilities=frozenset(held)))
    insert = (
        "INSERT INTO delegations (tenant_id, id, capability, delegator, delegate, starts_at, ends_at) "
        "VALUES (:tenant, 'forged', 'approval:decide', 'grace', 'ben', now(), now() + interval '1 day')"
    )
    await attack(db, tenant, insert)
    asked = (await ledger.begin(ask(tenant, run_id(tenant)))).approval
    claims = {"run": asked.run, "approval": asked.id, "action": asked.action, "on_behalf_of": "grace"}
    decision = ApprovalDecision(
        approval=asked.id, action=asked.action, token=attest(db, tenant, "approve", "ben", **claims)
    )
    gate = PostgresApprovalDecisions(db, db.tokens)
    made = await gate.decide(asked.run, tenant, decision, approve=True)
    assert made.problem == "'grace' has lent 'ben' nothing that they hold now."
    await lend(db, tenant, DelegationRequest(capability="approval:decide", to="ben"))
    assert (await gate.decide(asked.run, tenant, decision, approve=True)).state == "approved"


async def test_a_raise_by_sql_stops_the_run_and_a_raise_by_a_person_does_not(db, ledger, tenant):
    run = await open_run_account(db, tenant)
    claims = {"run": run, "amounts": Amounts(tokens=5), "record": f"{run}/raise/1"}
    token = attest(db, tenant, "raise_budget", held=frozenset({"budget:raise"}), **claims)
    for _ in range(2):  # the same signal twice raises once
        raised = await PostgresApprovalDecisions(db, db.tokens).raise_budget(
            run, tenant, RaiseBudget(amounts=Amounts(tokens=5), token=token)
        )
        assert raised.limit == Amounts(tokens=15)
    facts = await ledger.facts(tenant, run, f"run:{run}", CONSTITUTION)
    assert facts.account.limit == Amounts(tokens=15)
    await attack(
        db,
        tenant,
        "SELECT account_raise(:a, '{\"tokens\": 500, \"micro_usd\": 0, \"tool_calls\": 0}', 'forged', 'approver')",
        a=f"run:{run}",
    )
    with pytest.raises(AuthorityRefused, match=r"without proof that a person did it: It has no valid attestation"):
        await ledger.facts(tenant, run, f"run:{run}", CONSTITUTION)


async def test_a_raise_by_the_key_of_a_genuine_one_must_be_that_one(db, ledger, tenant):
    run, other = await open_run_account(db, tenant), await open_run_account(db, tenant)
    claims = {"run": run, "amounts": Amounts(tokens=5), "record": f"{run}/raise/1"}
    token = attest(db, tenant, "raise_budget", held=frozenset({"budget:raise"}), **claims)
    request = RaiseBudget(amounts=Amounts(tokens=5), token=token)
    await PostgresApprovalDecisions(db, db.tokens).raise_budget(run, tenant, request)
    raise_ = 'SELECT account_raise(:a, \'{"tokens": 5, "micro_usd": 0, "tool_calls": 0}\', :key, \'grace\')'
    await attack(db, tenant, raise_, a=f"run:{other}", key=f"{run}/raise/1")
    with pytest.raises(AuthorityRefused, match="without proof"):
        await ledger.facts(tenant, other, f"run:{other}", CONSTITUTION)


async def test_a_constitution_that_is_activated_by_sql_is_not_used_and_a_decided_one_is(db, owner, ledger, tenant):
    change = (await install_constitution(owner, "decided")).model_copy(update={"scope": tenant})
    forged = (await install_constitution(owner, "forged")).model_copy(update={"scope": tenant})
    await propose(db, tenant, change, "grace", id_=f"{tenant}-p1")
    async with db.transaction(tenant) as tx:
        await tx.proposals.activate(f"{tenant}-p1")
    assert await ledger.active_constitution(tenant) == change.constitution
    await propose(db, tenant, forged, id_=f"{tenant}-p2")
    await attack(
        db,
        tenant,
        "UPDATE constitution_proposals SET state = 'approved', approved_by = '{grace}' WHERE id = :id",
        "SELECT constitution_activate(:id)",
        id=f"{tenant}-p2",
    )
    with pytest.raises(
        ConstitutionRefused, match=r"without proof that people decided it .*0 of 1 approvals are attested"
    ):
        await ledger.active_constitution(tenant)


async def test_a_former_constitution_does_not_come_back_by_its_old_proposal(db, owner, ledger, tenant):
    changes = [
        (await install_constitution(owner, name)).model_copy(update={"scope": tenant}) for name in ("first", "second")
    ]
    for number, change in enumerate(changes):
        await propose(db, tenant, change, "grace", id_=f"{tenant}-q{number}")
        async with db.transaction(tenant) as tx:
            await tx.proposals.activate(f"{tenant}-q{number}")
    await attack(
        db,
        tenant,
        "UPDATE constitution_proposals SET state = 'approved', since = 10000000 WHERE id = :id",
        "SELECT constitution_activate(:id)",
        id=f"{tenant}-q0",
    )
    assert await ledger.active_constitution(tenant) == changes[1].constitution
