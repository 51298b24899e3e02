"""Quorums over roles, and later groups: who counts for what, also in the database itself."""

import asyncio
import datetime as dt
import json

import decisions
import pytest
from ledger_messages import begin_effect, key, run_id
from sqlalchemy import text

from capsules.actions.verdict import Demand, Escalation
from capsules.approvals.approval import Answer, missing_demands
from capsules.errors import Conflict, Denied, SomaError
from somagent.db.database import Database
from somagent.db.gate.ledger import PostgresLedger

TWO_ROLES = (Demand(capability="approval:security", quorum=2), Demand(capability="approval:finance"))


async def ask(db: Database, tenant: str, run: str | None = None, **verdict):
    begun = await PostgresLedger(db).begin(begin_effect(key(tenant, run or run_id(tenant)), decision="ask", **verdict))
    return begun.approval


async def decide(db: Database, tenant: str, approval: str, by: str, *held: str, approve: bool = True, later: float = 0):
    now = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=later)
    return await decisions.decide(db, tenant, approval, by, *held, approve=approve, comment=f"{by} looked", now=now)


async def test_each_role_needs_its_own_number_of_people(db, tenant):
    run = run_id(tenant)
    asked = await ask(db, tenant, run, demands=TWO_ROLES)
    assert (asked.capability, asked.demands) == ("approval:security", TWO_ROLES)
    first = await decide(db, tenant, asked.id, "sam", "approval:security", "run:read")
    assert (first.state, first.missing) == ("pending", (Demand(capability="approval:security"), TWO_ROLES[1]))
    second = await decide(db, tenant, asked.id, "sue", "approval:security")
    assert (second.state, second.missing) == ("pending", (TWO_ROLES[1],))
    last = await decide(db, tenant, asked.id, "fay", "approval:finance")
    assert (last.state, last.missing, last.decided_by) == ("approved", (), "fay")
    assert [(a.by, a.said, a.capabilities, a.comment) for a in last.answers] == [
        ("sam", "yes", ("approval:security", "run:read"), "sam looked"),
        ("sue", "yes", ("approval:security",), "sue looked"),
        ("fay", "yes", ("approval:finance",), "fay looked"),
    ]
    begun = await PostgresLedger(db).begin(begin_effect(key(tenant, run), decision="ask", demands=TWO_ROLES))
    assert begun.status == "go"
    async with db.transaction(tenant) as tx:
        body = (await tx.receipts.list(run))[-1].body
    assert [a["by"] for a in body["approvers"]] == ["sam", "sue", "fay"]


async def test_a_yes_counts_only_while_it_satisfies_what_is_demanded_now(db, tenant):
    run = run_id(tenant)
    asked = await ask(db, tenant, run, demands=TWO_ROLES[1:])
    assert (await decide(db, tenant, asked.id, "fay", "approval:finance")).state == "approved"
    # Meanwhile the budget shrank, say, and a further rule asks.
    again = await ask(db, tenant, run, demands=TWO_ROLES)
    assert again.id != asked.id
    assert again.demands == TWO_ROLES
    begun = await PostgresLedger(db).begin(begin_effect(key(tenant, run), decision="ask", demands=TWO_ROLES[1:]))
    assert begun.status == "go"


async def test_one_person_may_count_for_several_roles_but_never_twice_for_one(db, tenant):
    asked = await ask(db, tenant, demands=TWO_ROLES)
    both = await decide(db, tenant, asked.id, "sam", "approval:security", "approval:finance")
    assert both.missing == (Demand(capability="approval:security"),)
    with pytest.raises(Denied, match="'sam' approved already"):
        await decide(db, tenant, asked.id, "sam", "approval:security")
    assert (await decide(db, tenant, asked.id, "sue", "approval:security")).state == "approved"


async def test_one_no_denies_at_once_even_of_somebody_who_said_yes(db, tenant):
    for by in ("fay", "sam"):
        asked = await ask(db, tenant, demands=TWO_ROLES)
        await decide(db, tenant, asked.id, "sam", "approval:security")
        denied = await decide(db, tenant, asked.id, by, "approval:finance", approve=False)
        assert (denied.state, denied.decided_by, denied.missing) == ("denied", by, ())


async def test_who_holds_none_of_the_roles_decides_nothing(db, tenant):
    asked = await ask(db, tenant, demands=TWO_ROLES)
    for approve in (True, False):
        with pytest.raises(Denied, match="lacks the capability 'approval:security' or 'approval:finance'"):
            await decide(db, tenant, asked.id, "ben", "approval:decide", approve=approve)


async def test_demands_for_one_capability_are_one_demand(db, tenant):
    asked = await ask(db, tenant, demands=(Demand(), Demand(quorum=3), Demand(quorum=2)))
    assert asked.demands == (Demand(quorum=3),)


async def test_of_two_who_say_the_last_yes_at_once_one_is_needed_and_the_other_is_told(db, tenant):
    for _ in range(5):
        asked = await ask(db, tenant, demands=(Demand(quorum=2),))
        await decide(db, tenant, asked.id, "ann", "approval:decide")
        said = await asyncio.gather(
            *(decide(db, tenant, asked.id, by, "approval:decide") for by in ("ben", "cem")), return_exceptions=True
        )
        approved = [a for a in said if not isinstance(a, SomaError)]
        [late] = [a for a in said if isinstance(a, SomaError)]
        assert [a.state for a in approved] == ["approved"]
        assert isinstance(late, Conflict)
        assert "approved by" in late.message


async def test_a_later_group_counts_everywhere_from_its_moment_on(db, tenant):
    steps = (Escalation(after_seconds=60, capability="approval:board"),)
    asked = await ask(db, tenant, demands=(Demand(quorum=2),), escalation=steps, expires_seconds=3600)
    [group] = asked.escalation
    assert 3539 < (asked.expires_at - group.at).total_seconds() <= 3540
    with pytest.raises(Denied, match="lacks the capability"):
        await decide(db, tenant, asked.id, "bea", "approval:board")
    assert (await decide(db, tenant, asked.id, "ann", "approval:decide")).state == "pending"
    late = await decide(db, tenant, asked.id, "bea", "approval:board", later=61)
    assert (late.state, [a.escalated for a in late.answers]) == ("approved", [False, True])


async def test_each_later_group_is_told_once_and_none_that_would_come_after_the_end(db, tenant):
    steps = tuple(Escalation(after_seconds=s, capability=f"approval:{n}") for s, n in ((9, "b"), (5, "a"), (99, "c")))
    asked = await ask(db, tenant, escalation=steps, expires_seconds=60)
    assert [group.capability for group in asked.escalation] == ["approval:a", "approval:b"]
    async with db.transaction(tenant) as tx:
        for groups in (1, 1, 2, 1, 2):
            await tx.approvals.escalate(asked.id, groups=groups)
        told = [e.data["capability"] for e in await tx.events.after(asked.run) if e.type == "approval.escalated"]
    assert told == ["approval:a", "approval:b"]


async def test_nobody_is_told_of_what_is_decided(db, tenant):
    asked = await ask(db, tenant, escalation=(Escalation(after_seconds=5, capability="approval:a"),))
    await decide(db, tenant, asked.id, "ann", "approval:decide")
    async with db.transaction(tenant) as tx:
        await tx.approvals.escalate(asked.id, groups=1)
        assert not [e for e in await tx.events.after(asked.run) if e.type == "approval.escalated"]


async def test_one_that_nobody_decided_is_closed_once_and_a_decision_of_before_stays(db, tenant):
    asked = await ask(db, tenant)
    async with db.transaction(tenant) as tx:
        for _ in range(2):
            assert (await tx.approvals.expire(asked.id)).state == "expired"
        [told] = [e.data for e in await tx.events.after(asked.run) if e.type == "approval.expired"]
    assert told["asked"] == "1 with 'approval:decide'"
    with pytest.raises(Conflict, match="expired"):
        await decide(db, tenant, asked.id, "ann", "approval:decide")
    decided = await ask(db, tenant)
    await decide(db, tenant, decided.id, "ann", "approval:decide")
    async with db.transaction(tenant) as tx:
        assert (await tx.approvals.expire(decided.id)).state == "approved"


def new_answer(by: str, *held: str, owner: str | None = None, escalated: bool = False, said: str = "yes") -> Answer:
    at = dt.datetime.now(dt.UTC)
    return Answer(by=by, said=said, on_behalf_of=owner, capabilities=held, escalated=escalated, at=at)


SATISFACTION = [
    ((Demand(),), (), False),
    ((Demand(),), (new_answer("a", "approval:decide"),), True),
    ((Demand(),), (new_answer("a", "approval:decide", said="edit"),), False),
    ((Demand(),), (new_answer("a", "run:read"),), False),
    ((Demand(quorum=2),), (new_answer("a", "approval:decide"), new_answer("a", "approval:decide")), False),
    ((Demand(quorum=2),), (new_answer("a", "approval:decide"), new_answer("b", escalated=True)), True),
    (TWO_ROLES, (new_answer("a", escalated=True), new_answer("b", escalated=True)), True),
    (TWO_ROLES, (new_answer("a", "approval:security"), new_answer("b", "approval:security")), False),
    (TWO_ROLES, (new_answer("a", "approval:security", "approval:finance"), new_answer("b", "approval:security")), True),
]


@pytest.mark.parametrize(("demands", "answers", "enough"), SATISFACTION)
async def test_the_database_and_the_code_count_alike(db, demands, answers, enough):
    assert (missing_demands(demands, answers) == ()) is enough
    async with db.pool.acquire() as connection:
        counted = await connection.fetchval(
            "SELECT approval_satisfied($1, $2)",
            json.dumps([d.model_dump() for d in demands]),
            json.dumps([a.model_dump(mode="json") for a in answers]),
        )
    assert counted is enough


@pytest.mark.parametrize(
    ("answers", "constraint"),
    [
        ((new_answer("a", "approval:decide"),), "approvals_quorum"),
        ((new_answer("a", "approval:decide"), new_answer("ada", "approval:decide")), "approvals_duties"),
        ((new_answer("a", "approval:decide"), new_answer("b", "approval:decide", owner="ada")), "approvals_duties"),
        ((new_answer("a", "approval:decide"), new_answer("b", "approval:decide", owner="a")), "approvals_duties"),
    ],
)
async def test_nothing_is_approved_past_its_quorum_or_duties_not_even_in_the_database(db, tenant, answers, constraint):
    asked = await ask(db, tenant, demands=(Demand(quorum=2),))
    written = json.dumps([a.model_dump(mode="json") for a in answers])
    statement = "UPDATE approvals SET state = 'approved', answers = CAST(:answers AS jsonb) WHERE id = :id"
    with pytest.raises(Exception, match=constraint):
        async with db.transaction(tenant) as tx:
            await tx.connection.execute(text(statement), {"answers": written, "id": asked.id})
