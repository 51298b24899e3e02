"""Decisions of real runs out of their receipts: newest runs first, whole, and only the tenant's own."""

import datetime as dt

import pytest
from ledger_messages import begin_effect, constitution, key, run_id
from sqlalchemy import text

from capsules.errors import NotFound
from somagent.db.database import Database
from somagent.db.gate.ledger import PostgresLedger


@pytest.fixture
async def decided_runs(owner: Database, db: Database, tenant: str) -> list[str]:
    """Three runs with two decisions each, oldest first."""
    await owner.constitutions.install(constitution(dt.datetime.now(dt.UTC)))
    ledger, runs = PostgresLedger(db), []
    for _ in range(3):
        run = run_id(tenant)
        for decision in ("allow", "deny"):
            await ledger.begin(begin_effect(key(tenant, run), decision=decision))
        runs.append(run)
    return runs


async def read_decisions(db: Database, tenant: str, **which):
    async with db.transaction(tenant) as tx:
        return [one async for batch in tx.decision_log.batches(**which) for one in batch]


async def test_the_newest_runs_come_first_and_each_in_its_order(
    db: Database, tenant: str, decided_runs: list[str]
) -> None:
    found = await read_decisions(db, tenant, newest=2)
    assert [(one.run, one.seq, one.verdict.decision) for one in found] == [
        (run, seq, decision) for run in decided_runs[:0:-1] for seq, decision in ((1, "allow"), (2, "deny"))
    ]


async def test_runs_before_a_date_are_left_out(db: Database, tenant: str, decided_runs: list[str]) -> None:
    assert await read_decisions(db, tenant, newest=9, since=dt.datetime.now(dt.UTC) + dt.timedelta(hours=1)) == []
    assert len(await read_decisions(db, tenant, newest=9, since=dt.datetime.now(dt.UTC) - dt.timedelta(hours=1))) == 6


async def test_a_receipt_without_facts_cannot_be_judged_again(
    db: Database, owner: Database, tenant: str, decided_runs: list[str]
) -> None:
    await add_decision_without_facts(owner, tenant, decided_runs[-1])
    assert [one is None for one in await read_decisions(db, tenant, newest=1)] == [False, False, True]
    async with db.transaction(tenant) as tx:
        with pytest.raises(NotFound, match="an older one that does not say on what facts"):
            await tx.decision_log.decision(decided_runs[-1], 3)


async def test_one_decision_is_found_by_its_receipt(db: Database, tenant: str, decided_runs: list[str]) -> None:
    async with db.transaction(tenant) as tx:
        found = await tx.decision_log.decision(decided_runs[0], 2)
        last = await tx.decision_log.newest(decided_runs[0])
        assert (found.verdict.decision, found.verdict.score) == ("deny", 612_000)
        assert last == found
        with pytest.raises(NotFound, match="Receipt 9"):
            await tx.decision_log.decision(decided_runs[0], 9)


async def test_the_decision_that_asked_is_found_by_its_approval(
    db: Database, tenant: str, decided_runs: list[str]
) -> None:
    run = run_id(tenant)
    begun = await PostgresLedger(db).begin(begin_effect(key(tenant, run), decision="ask"))
    async with db.transaction(tenant) as tx:
        found = await tx.decision_log.for_approval(run, begun.approval.id)
        assert found.verdict.decision == "ask"
        assert await tx.decision_log.for_approval(decided_runs[0], begun.approval.id) is None


async def test_another_tenants_decisions_are_not_there(owner: Database, db: Database, decided_runs: list[str]) -> None:
    await owner.tenants.add("stranger")
    assert await read_decisions(db, "stranger", newest=9) == []


async def add_decision_without_facts(owner: Database, tenant: str, run: str) -> None:
    """Write a decision as receipts were before they had facts."""
    async with owner.transaction(tenant) as tx:
        await tx.connection.execute(
            text("SELECT receipt_append(:run, 'decision', 'a0', 1, '{\"decision\": \"\\\"allow\\\"\"}')"), {"run": run}
        )
