"""Usage: each run is counted once, by whatever it is grouped; a child's part is the child's. Real rows, no mocks."""

import datetime as dt

import pytest
from ledger_messages import begin_effect, finish_effect, key, run_id

from capsules.budgets.amounts import Amounts
from capsules.budgets.usage_report import USAGE_GROUPS, Usage
from capsules.digest import digest
from capsules.runs.run import CloseRun, NewRun
from somagent.db.database import Database
from somagent.db.gate.ledger import PostgresLedger
from somagent.db.gate.run_projection import PostgresRuns

NOW = dt.datetime.now(dt.UTC)
WIDE = {"since": NOW - dt.timedelta(days=1), "until": NOW + dt.timedelta(days=1)}


async def add_run(
    db: Database, ledger: PostgresLedger, run: str, capsule: str, tokens: int, *, parent: str = ""
) -> None:
    """Let a run of a capsule spend tokens from its own account, carved from its parent's."""
    tenant = run.partition("/")[0]
    async with db.transaction(tenant) as tx:
        await tx.runs.accept(
            NewRun(id=run, capsule=capsule, digest=digest({}), actor="ada", request=digest(run), parent=parent or None)
        )
        payer = f"run:{parent}" if parent else f"tenant:{tenant}"
        await tx.accounts.carve_run(payer, f"run:{run}", Amounts(tokens=100 if parent else 1000), seconds=300)
        await tx.runs.admit(run, digest=digest({}), parent=parent or None, account=f"run:{run}", lock={"model": "m"})
    attempt = key(tenant, run)
    spent = Amounts(tokens=tokens)
    assert (await ledger.begin(begin_effect(attempt, cost=spent, account=f"run:{run}"))).status == "go"
    await ledger.finish(finish_effect(attempt, usage=spent))


@pytest.fixture
async def spent(db: Database, ledger: PostgresLedger, owner: Database, tenant: str) -> str:
    """A parent that spent 10 and paid for a child that spent 7; another run that spent 5."""
    async with db.transaction(tenant) as tx:
        await tx.accounts.ensure(f"tenant:{tenant}", Amounts(tokens=10_000))
    parent = run_id(tenant)
    await add_run(db, ledger, run_id(tenant), "single@1.0.0", 5)
    await add_run(db, ledger, parent, "whole@1.0.0", 10)
    await add_run(db, ledger, f"{parent}/part", "single@2.0.0", 7, parent=parent)
    for run, seconds in ((f"{parent}/part", 20), (parent, 30)):
        await PostgresRuns(db).close(CloseRun(run=run, tenant=tenant, status="completed", seconds=seconds))
    async with db.transaction(tenant) as tx:
        assert (await tx.accounts.get(f"run:{parent}")).spent.tokens == 17, "a parent's account holds its child's"
    return tenant


async def report(db: Database, tenant: str, *by: str) -> tuple[Usage, ...]:
    async with db.transaction(tenant) as tx:
        return await tx.usage.report(by, **WIDE)  # type: ignore[arg-type]


async def test_each_run_is_counted_once(db: Database, spent: str) -> None:
    (total,) = await report(db, spent)
    assert (total.runs, total.spent) == (3, Amounts(tokens=22))
    by_capsule = {one.capsule: one.spent.tokens for one in await report(db, spent, "capsule")}
    assert by_capsule == {"single": 12, "whole": 10}
    for by in ([], ["day"], ["model"], ["persona"], list(USAGE_GROUPS)):
        rows = await report(db, spent, *by)
        assert sum(one.spent.tokens for one in rows) == 22
        assert {one.model for one in rows} == ({"m"} if "model" in by else {None})


async def test_a_child_works_in_its_parents_time(db: Database, spent: str) -> None:
    assert {one.capsule: one.seconds for one in await report(db, spent, "capsule")} == {"single": 0, "whole": 30}


async def test_days_and_tenants_are_apart(db: Database, spent: str, owner: Database) -> None:
    async with db.transaction(spent) as tx:
        assert await tx.usage.report(("day",), since=NOW - dt.timedelta(days=9), until=NOW - dt.timedelta(days=2)) == ()
    other = f"{spent}-other"
    await owner.tenants.add(other)
    assert await report(db, other) == ()
