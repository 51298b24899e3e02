"""Wall clock: a run holds its whole time until it ends, then counts what it worked; children work inside it."""

import asyncio
import datetime as dt

import pytest
from ledger_messages import run_id
from sqlalchemy import func, select

from capsules.budgets.account import Account, AccountTerms
from capsules.budgets.amounts import Amounts
from capsules.digest import digest
from capsules.errors import BudgetExhausted
from capsules.runs.run import CloseRun, NewRun
from somagent.db.database import Database
from somagent.db.gate.run_projection import PostgresRuns

PLENTY = Amounts(tokens=10_000)
NEXT = (dt.datetime.now(dt.UTC).replace(day=1) + dt.timedelta(days=40)).replace(day=1)


@pytest.fixture
async def root(db: Database, tenant: str) -> str:
    """A tenant of 1000 s a month, with a project of 300 s."""
    async with db.transaction(tenant) as tx:
        terms = AccountTerms(allowance=PLENTY, period="month", wall_clock=1000)
        await tx.accounts.allow(f"tenant:{tenant}", None, terms, by="owner")
        part = AccountTerms(allowance=Amounts(tokens=5000), period="month", wall_clock=300)
        await tx.accounts.allow("project:web", f"tenant:{tenant}", part, by="rosa")
    return f"tenant:{tenant}"


async def begin(db: Database, tenant: str, parent: str, seconds: int, run: str | None = None) -> str:
    run = run or run_id(tenant)
    async with db.transaction(tenant) as tx:
        await tx.runs.accept(
            NewRun(id=run, capsule="x@1.0.0", digest=digest({}), actor="ada", inputs={}, request=digest(run))
        )
        await tx.accounts.carve_run(parent, f"run:{run}", Amounts(tokens=10), seconds=seconds)
    return run


async def end(db: Database, tenant: str, run: str, seconds: int | None) -> None:
    for _ in range(2):  # again counts nothing again
        await PostgresRuns(db).close(CloseRun(run=run, tenant=tenant, status="completed", seconds=seconds))


async def clock(owner: Database, tenant: str, account: str, moment: dt.datetime | None = None) -> tuple[int, int]:
    """Return the seconds of an account. Only the owner's role can open a month that has not come."""
    async with owner.transaction(tenant) as tx:
        await tx.connection.execute(select(func.period_open(account, moment or dt.datetime.now(dt.UTC))))
        assert await tx.accounts.breaches() == ()
        found: Account = await tx.accounts.get(account)
    return found.wall_clock.spent, found.wall_clock.reserved


async def test_a_run_holds_its_time_and_counts_what_it_worked(db, owner, tenant, root):
    run = await begin(db, tenant, "project:web", 200)
    await begin(db, tenant, "project:web", 200, run)  # admitted again
    assert await clock(owner, tenant, "project:web") == (0, 200)
    assert await clock(owner, tenant, root) == (0, 200)
    with pytest.raises(BudgetExhausted, match="'project:web' has 100 s of wall clock left, and the run may take 101 s"):
        await begin(db, tenant, "project:web", 101)
    child = await begin(db, tenant, f"run:{run}", 150, f"{run}/task")
    assert await clock(owner, tenant, root) == (0, 200), "a child works inside its parent's time"
    await end(db, tenant, child, 30)
    await end(db, tenant, run, 42)
    assert await clock(owner, tenant, "project:web") == (42, 0)
    assert await clock(owner, tenant, root) == (42, 0)


async def test_what_nobody_can_say_counts_whole_and_a_month_begins_anew(db, owner, tenant, root):
    await end(db, tenant, await begin(db, tenant, root, 120), None)
    held = await begin(db, tenant, root, 70)
    assert await clock(owner, tenant, root) == (120, 70)
    assert await clock(owner, tenant, root, NEXT) == (0, 70)
    await end(db, tenant, held, 5)
    assert await clock(owner, tenant, root, NEXT) == (5, 0)


async def test_many_starts_at_once_never_pass_the_bound(db, owner, tenant, root):
    answers = await asyncio.gather(*(begin(db, tenant, "project:web", 50) for _ in range(12)), return_exceptions=True)
    assert sum(isinstance(one, str) for one in answers) == 6
    assert all(isinstance(one, str | BudgetExhausted) for one in answers)
    assert await clock(owner, tenant, "project:web") == (0, 300)


async def test_a_bound_that_is_set_while_runs_work_counts_those_that_begin_after(db, owner, tenant):
    once = f"tenant:{tenant}"
    async with db.transaction(tenant) as tx:
        await tx.accounts.allow(once, None, AccountTerms(allowance=PLENTY), by="owner")
    before = await begin(db, tenant, once, 60)
    async with db.transaction(tenant) as tx:
        await tx.accounts.allow(once, None, AccountTerms(allowance=PLENTY, wall_clock=100), by="owner")
    await end(db, tenant, before, 50)
    assert await clock(owner, tenant, once) == (0, 0)
    await end(db, tenant, await begin(db, tenant, once, 60), 50)
    assert await clock(owner, tenant, once) == (50, 0)
