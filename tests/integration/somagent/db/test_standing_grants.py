"""Standing grants in the database: so many uses, once for each effect, in time, and never past a person's no."""

import asyncio
import datetime as dt

import pytest
from decisions import attest, decide, give_grant
from ledger_messages import CONSTITUTION, begin_effect, finish_effect, key, run_id

from capsules.approvals.standing_grant import MAX_OPEN, GrantRequest, StandingGrant
from capsules.budgets.amounts import Amounts
from capsules.digest import digest
from capsules.errors import Conflict, NotFound
from capsules.identity.principal import Principal
from somagent.db.database import Database
from somagent.identity.proofs import GrantRow

SCOPE = "action.kind == 'tool.invoke'"


async def _add_grant(
    db: Database, tenant: str, *, by: str = "grace", constitution=CONSTITUTION, **asked
) -> StandingGrant:
    request = GrantRequest(**({"scope": SCOPE, "uses": 5, "expires_seconds": 600, "reason": "nightly"} | asked))
    return await give_grant(db, tenant, request, constitution=constitution, by=by)


async def _get_grant(db: Database, tenant: str, grant: StandingGrant) -> StandingGrant:
    async with db.transaction(tenant) as tx:
        return await tx.standing_grants.get(grant.id)


async def _revoke(db: Database, tenant: str, grant: StandingGrant) -> StandingGrant:
    async with db.transaction(tenant) as tx:
        token = attest(db, tenant, "revoke_grant", "hedy", record=grant.id)
        return await tx.standing_grants.revoke(grant.id, by="hedy", token=token, now=dt.datetime.now(dt.UTC))


def _begin_asked(attempt, *grants: StandingGrant, **rest):
    """Return an entry that is asked about and to which the gate found these grants fitting."""
    return begin_effect(attempt, decision="ask", **rest).model_copy(
        update={"matching_grants": tuple(g.id for g in grants)}
    )


async def test_of_twenty_actions_at_once_five_take_the_five_uses(db, ledger, tenant):
    grant = await _add_grant(db, tenant, uses=5)
    runs = [run_id(tenant) for _ in range(20)]
    passages = await asyncio.gather(*(ledger.begin(_begin_asked(key(tenant, run), grant)) for run in runs))
    assert sorted(p.status for p in passages) == ["ask"] * 15 + ["go"] * 5
    left = await _get_grant(db, tenant, grant)
    assert (left.state, left.uses_left) == ("used up", 0)
    async with db.transaction(tenant) as tx:
        told = [e.data["uses_left"] for run in runs for e in await tx.events.after(run) if e.type == "grant.used"]
    assert sorted(told) == [0, 1, 2, 3, 4]


async def test_many_actions_use_up_one_grant_after_the_other(db, ledger, tenant):
    grants = [await _add_grant(db, tenant, uses=3), await _add_grant(db, tenant, uses=4)]
    passages = await asyncio.gather(
        *(ledger.begin(_begin_asked(key(tenant, run_id(tenant)), *grants)) for _ in range(12))
    )
    assert sum(p.status == "go" for p in passages) == 7
    assert [(await _get_grant(db, tenant, g)).uses_left for g in grants] == [0, 0]


async def test_the_receipt_says_which_grant_let_it_pass_and_whose_it_is(db, ledger, tenant):
    run = run_id(tenant)
    grant = await _add_grant(db, tenant)
    assert (await ledger.begin(_begin_asked(key(tenant, run), grant))).status == "go"
    async with db.transaction(tenant) as tx:
        [receipt] = await tx.receipts.list(run)
    body = receipt.body
    assert (body["decision"], body["reason"]) == ("allow", "standing grant")
    assert (body["standing_grant"], body["approved_by"]) == (grant.id, "grace")


async def test_a_retry_and_a_replay_of_an_effect_use_it_once(db, ledger, tenant):
    run = run_id(tenant)
    grant = await _add_grant(db, tenant, uses=1)
    for attempt in (1, 2, 3):
        # A retry finds no grant with a use left: the gate offers none, and it passes on the use it has.
        offered = (grant,) if attempt == 1 else ()
        assert (await ledger.begin(_begin_asked(key(tenant, run, "a", attempt=attempt), *offered))).status == "go"
    await ledger.finish(finish_effect(key(tenant, run, "a", attempt=3), result=1))
    assert (await ledger.begin(_begin_asked(key(tenant, run, "a", attempt=4)))).status == "replay"
    assert (await ledger.begin(_begin_asked(key(tenant, run, "b"), grant))).status == "ask"
    assert (await _get_grant(db, tenant, grant)).uses_left == 0


async def test_a_use_covers_its_effect_only_for_the_action_it_was_taken_for(db, ledger, tenant):
    run = run_id(tenant)
    grant = await _add_grant(db, tenant, uses=1)
    assert (await ledger.begin(_begin_asked(key(tenant, run, "a"), grant))).status == "go"
    assert (
        await ledger.begin(_begin_asked(key(tenant, run, "a", attempt=2), target="shell@1.0.0/run"))
    ).status == "ask"
    other = await _add_grant(db, tenant, uses=1)
    changed = _begin_asked(key(tenant, run, "a", attempt=3), other, target="bash@1.0.0/run")
    assert (await ledger.begin(changed)).status == "go"
    assert (await _get_grant(db, tenant, other)).uses_left == 0, "another action is another use"


async def test_an_uncertain_effect_is_never_passed(db, ledger, tenant):
    run = run_id(tenant)
    grant = await _add_grant(db, tenant)
    assert (await ledger.begin(_begin_asked(key(tenant, run, "a"), grant, idempotent=False))).status == "go"
    for activity in ("a", "b"):
        again = await ledger.begin(_begin_asked(key(tenant, run, activity, attempt=2), grant, idempotent=False))
        assert again.status == "ask"
        assert "may have taken effect" in again.approval.sentence
    assert (await _get_grant(db, tenant, grant)).uses_left == 4


async def test_an_action_that_the_budget_cannot_cover_uses_none(db, ledger, tenant):
    run = run_id(tenant)
    grant = await _add_grant(db, tenant)
    assert (await ledger.begin(_begin_asked(key(tenant, run), grant, cost=Amounts(tokens=1)))).status == "exhausted"
    assert (await _get_grant(db, tenant, grant)).uses_left == 5


async def test_a_grant_that_expired_or_was_revoked_lets_nothing_begin(db, ledger, tenant):
    short, revoked = await _add_grant(db, tenant, expires_seconds=1), await _add_grant(db, tenant)
    retried = key(tenant, run_id(tenant), "a")
    assert (await ledger.begin(_begin_asked(retried, revoked))).status == "go"
    assert (await _revoke(db, tenant, revoked)).revoked_by == "hedy"
    assert (await _revoke(db, tenant, revoked)).state == "revoked", "once more changes nothing"
    await asyncio.sleep(1.1)
    assert (await _get_grant(db, tenant, short)).state == "expired"
    assert (await ledger.begin(_begin_asked(key(tenant, run_id(tenant)), short, revoked))).status == "ask"
    assert (await ledger.begin(_begin_asked(retried.model_copy(update={"attempt": 2}), revoked))).status == "ask"
    facts = await ledger.facts(tenant, run_id(tenant), None, CONSTITUTION)
    assert facts.open_grants == ()


async def test_who_granted_cannot_ask_under_it(db, ledger, tenant):
    grant = await _add_grant(db, tenant, by="ada")
    assert (await ledger.begin(_begin_asked(key(tenant, run_id(tenant)), grant, actor="ada"))).status == "ask"
    assert (await ledger.begin(_begin_asked(key(tenant, run_id(tenant)), grant, actor="hedy"))).status == "go"


async def test_under_another_constitution_it_does_not_count_until_it_is_proved_again(db, ledger, tenant):
    grant = await _add_grant(db, tenant, constitution=digest("the one before"))
    assert (await ledger.begin(_begin_asked(key(tenant, run_id(tenant)), grant))).status == "ask"
    async with db.transaction(tenant) as tx:
        terms = GrantRow.model_validate(grant.model_dump() | {"constitution": CONSTITUTION}).terms()
        token = attest(db, tenant, "grant", record=grant.id, terms=terms)
        bound = await tx.standing_grants.rebind(grant.id, constitution=CONSTITUTION, by="grace", token=token)
    assert bound.constitution == CONSTITUTION
    assert (await ledger.begin(_begin_asked(key(tenant, run_id(tenant)), grant))).status == "go"
    revoked = await _revoke(db, tenant, grant)
    with pytest.raises(Conflict, match="is revoked"):
        async with db.transaction(tenant) as tx:
            await tx.standing_grants.rebind(revoked.id, constitution=CONSTITUTION, by="grace", token=token)


async def test_a_granter_who_lost_the_capability_has_lost_the_grant(db, ledger, tenant):
    grant = await _add_grant(db, tenant)
    for capabilities, status in ((frozenset({"run:read"}), "ask"), (frozenset({"approval:decide"}), "go")):
        async with db.transaction(tenant) as tx:
            await tx.principals.add(Principal(tenant=tenant, subject="grace", capabilities=capabilities))
        assert (await ledger.begin(_begin_asked(key(tenant, run_id(tenant)), grant))).status == status


async def test_a_persons_no_to_an_action_goes_before_any_grant(db, ledger, tenant):
    run = run_id(tenant)
    asked = await ledger.begin(_begin_asked(key(tenant, run)))
    grant = await _add_grant(db, tenant)
    waiting = await ledger.begin(_begin_asked(key(tenant, run), grant))
    assert (waiting.status, waiting.approval.id) == ("ask", asked.approval.id)
    await decide(db, tenant, asked.approval.id, approve=False)
    assert (await ledger.begin(_begin_asked(key(tenant, run), grant))).status == "ask"
    assert (await ledger.begin(_begin_asked(key(tenant, run_id(tenant)), grant))).status == "go", (
        "another run was not refused"
    )


async def test_the_gate_is_told_of_open_grants_of_this_constitution_and_tenant_only(db, owner, ledger, tenant):
    late, soon = await _add_grant(db, tenant), await _add_grant(db, tenant, expires_seconds=60)
    await _add_grant(db, tenant, constitution=digest("another"))
    stranger = f"{tenant}-b"
    await owner.tenants.add(stranger)
    await _add_grant(db, stranger)
    facts = await ledger.facts(tenant, run_id(tenant), None, CONSTITUTION)
    assert [offer.id for offer in facts.open_grants] == [soon.id, late.id]
    assert (facts.open_grants[0].scope, facts.open_grants[0].granted_by) == (SCOPE, "grace")


async def test_no_more_than_the_gate_looks_at_may_be_open(db, ledger, tenant):
    given = await asyncio.gather(*(_add_grant(db, tenant) for _ in range(MAX_OPEN + 3)), return_exceptions=True)
    assert sum(isinstance(one, Conflict) for one in given) == 3
    assert len((await ledger.facts(tenant, run_id(tenant), None, CONSTITUTION)).open_grants) == MAX_OPEN


async def test_grants_are_listed_newest_first_by_state(db, tenant):
    grants = [await _add_grant(db, tenant) for _ in range(3)]
    await _revoke(db, tenant, grants[1])
    async with db.transaction(tenant) as tx:
        first = await tx.standing_grants.list(limit=2)
        rest = await tx.standing_grants.list(limit=2, cursor=first.next)
        still = await tx.standing_grants.list(state="open")
        with pytest.raises(NotFound, match="'nothing'"):
            await tx.standing_grants.get("nothing")
    assert [g.id for g in (*first.items, *rest.items)] == [g.id for g in reversed(grants)]
    assert [g.id for g in still.items] == [grants[2].id, grants[0].id]
