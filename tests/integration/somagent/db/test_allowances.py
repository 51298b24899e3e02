"""Months and credit: what is spent in a month counts in that month, and no clock gives money twice."""

import datetime as dt

import pytest
from ledger_messages import begin_effect, finish_effect, key, run_id
from sqlalchemy import func, select, text

from capsules.budgets.account import Account, AccountTerms, Rate
from capsules.budgets.amounts import Amounts
from capsules.errors import BudgetExhausted, Conflict, NotFound
from somagent.db.database import Database

NOW = dt.datetime.now(dt.UTC)
NEXT = (NOW.replace(day=1) + dt.timedelta(days=40)).replace(day=1, hour=0, minute=0)
AFTER = (NEXT + dt.timedelta(days=40)).replace(day=2)


def tokens(count: int) -> Amounts:
    return Amounts(tokens=count, tool_calls=count)


def monthly_terms(count: int, rate: Rate | None = None) -> AccountTerms:
    return AccountTerms(allowance=tokens(count), period="month", rate=rate)


@pytest.fixture
async def root(db: Database, tenant: str) -> str:
    async with db.transaction(tenant) as tx:
        await tx.accounts.allow(f"tenant:{tenant}", None, monthly_terms(100), by="owner")
    return f"tenant:{tenant}"


async def spend(db, ledger, tenant: str, parent: str, count: int) -> None:
    """Carve a run's account, act once in it, and close it."""
    run = run_id(tenant)
    async with db.transaction(tenant) as tx:
        await tx.accounts.carve(parent, f"run:{run}", tokens(count))
    act = key(tenant, run)
    await ledger.begin(begin_effect(act, cost=tokens(count), account=f"run:{run}"))
    await ledger.finish(finish_effect(act, usage=tokens(count)))
    async with db.transaction(tenant) as tx:
        await tx.accounts.close(f"run:{run}")


async def read_account(owner: Database, tenant: str, account: str, moment: dt.datetime = NOW) -> Account:
    """Return an account in the month of a moment. Only the owner's role can open a month that has not come."""
    async with owner.transaction(tenant) as tx:
        await tx.connection.execute(select(func.period_open(account, moment)))
        assert await tx.accounts.breaches() == ()
        return await tx.accounts.get(account)


async def test_a_new_month_begins_with_the_allowance(db, owner, ledger, tenant, root):
    await spend(db, ledger, tenant, root, 70)
    assert (await read_account(owner, tenant, root)).left == tokens(30)
    later = await read_account(owner, tenant, root, NEXT)
    assert (later.left, later.spent, later.period_start) == (tokens(100), tokens(0), NEXT.date())


async def test_a_clock_that_is_set_back_or_jumps_gives_nothing_twice(db, owner, ledger, tenant, root):
    await spend(db, ledger, tenant, root, 60)
    assert (await read_account(owner, tenant, root, NEXT)).left == tokens(100)
    await spend(db, ledger, tenant, root, 80)
    for moment in (NOW, NEXT, NOW - dt.timedelta(days=400), NEXT + dt.timedelta(days=1)):
        assert (await read_account(owner, tenant, root, moment)).left == tokens(20)
    assert (await read_account(owner, tenant, root, AFTER)).left == tokens(100)


async def test_what_runs_under_way_hold_is_carried_over(db, owner, tenant, root):
    async with db.transaction(tenant) as tx:
        await tx.accounts.carve(root, f"run:{run_id(tenant)}", tokens(40))
    assert (await read_account(owner, tenant, root, NEXT)).left == tokens(60)


async def test_credit_is_spent_after_the_allowance_and_once(db, owner, ledger, tenant, root):
    async with db.transaction(tenant) as tx:
        for _ in range(2):
            await tx.accounts.give_credit(root, tokens(50), key="test-drive", by="owner")
    assert (await read_account(owner, tenant, root)).left == tokens(150)
    await spend(db, ledger, tenant, root, 120)
    later = await read_account(owner, tenant, root, NEXT)
    assert (later.left, later.credit) == (tokens(130), tokens(30))
    await spend(db, ledger, tenant, root, 130)
    last = await read_account(owner, tenant, root, AFTER)
    assert (last.left, last.credit) == (tokens(100), tokens(0))


async def test_a_project_takes_from_the_tenant_and_is_refilled(db, owner, ledger, tenant, root):
    async with db.transaction(tenant) as tx:
        await tx.accounts.allow("project:web", root, monthly_terms(60), by="rosa")
    await spend(db, ledger, tenant, "project:web", 50)
    assert (await read_account(owner, tenant, "project:web")).left == tokens(10)
    assert (await read_account(owner, tenant, root)).left == tokens(40)
    with pytest.raises(BudgetExhausted, match="project:web"):
        await spend(db, ledger, tenant, "project:web", 11)
    assert (await read_account(owner, tenant, "project:web", NEXT)).left == tokens(60)
    tenant_now = await read_account(owner, tenant, root, NEXT)
    assert (tenant_now.spent, tenant_now.reserved, tenant_now.left) == (tokens(0), tokens(60), tokens(40))


async def test_a_project_is_refilled_with_no_more_than_its_tenant_has(db, owner, ledger, tenant):
    once = f"tenant:{tenant}"
    async with db.transaction(tenant) as tx:
        await tx.accounts.allow(once, None, AccountTerms(allowance=tokens(100)), by="owner")
        await tx.accounts.allow("project:web", once, monthly_terms(60), by="rosa")
    await spend(db, ledger, tenant, "project:web", 60)
    assert (await read_account(owner, tenant, "project:web", NEXT)).left == tokens(40)
    assert (await read_account(owner, tenant, once, NEXT)).left == tokens(0)


async def test_a_run_under_a_project_knows_it_and_so_do_its_children(db, tenant, root):
    run = run_id(tenant)
    async with db.transaction(tenant) as tx:
        await tx.accounts.allow("project:web", root, monthly_terms(60), by="rosa")
        await tx.accounts.carve("project:web", f"run:{run}", tokens(20))
        child = await tx.accounts.carve(f"run:{run}", f"run:{run}/task", tokens(10))
        assert child.project == "web"
        assert [one.id for one in await tx.accounts.projects()] == ["project:web"]


async def test_a_smaller_allowance_gives_back_and_never_falls_below_what_is_spent(db, owner, ledger, tenant, root):
    async with db.transaction(tenant) as tx:
        await tx.accounts.allow("project:web", root, monthly_terms(60), by="rosa")
    await spend(db, ledger, tenant, "project:web", 30)
    async with db.transaction(tenant) as tx:
        smaller = await tx.accounts.allow("project:web", root, monthly_terms(10), by="rosa")
        assert (smaller.limit, smaller.left) == (tokens(30), tokens(0))
        assert (await tx.accounts.get(root)).left == tokens(70)
    with pytest.raises(BudgetExhausted):
        async with db.transaction(tenant) as tx:
            await tx.accounts.allow("project:web", root, monthly_terms(101), by="rosa")
    assert (await read_account(owner, tenant, "project:web", NEXT)).left == tokens(10)


async def test_a_project_is_closed_when_nothing_is_under_way(db, tenant, root):
    async with db.transaction(tenant) as tx:
        await tx.accounts.allow("project:web", root, monthly_terms(60), by="rosa")
        await tx.accounts.carve("project:web", f"run:{tenant}/x/1", tokens(20))
    with pytest.raises(Conflict, match="1 runs under way"):
        async with db.transaction(tenant) as tx:
            await tx.accounts.retire("project:web")
    async with db.transaction(tenant) as tx:
        await tx.accounts.close(f"run:{tenant}/x/1")
        await tx.accounts.retire("project:web")
        assert (await tx.accounts.get(root)).left == tokens(100)
        assert await tx.accounts.breaches() == ()
    with pytest.raises(Conflict, match="closed"):
        async with db.transaction(tenant) as tx:
            await tx.accounts.carve("project:web", f"run:{tenant}/x/2", tokens(1))
    with pytest.raises(NotFound):
        async with db.transaction(tenant) as tx:
            await tx.accounts.retire("project:none")


async def test_every_change_of_terms_is_audited(db, owner, tenant, root):
    async with db.transaction(tenant) as tx:
        await tx.accounts.allow("project:web", root, monthly_terms(60, Rate(calls=5)), by="rosa")
        await tx.accounts.give_credit(root, tokens(5), key="test-drive", by="rosa")
        rows = (await tx.connection.execute(text("SELECT action, actor, subject FROM audit_entries ORDER BY id"))).all()
    said = [(row.action, row.subject) for row in rows if row.actor == "rosa"]
    assert ("budget.allowed", "project:web") in said
    assert ("budget.credited", root) in said


async def test_a_fault_in_the_books_is_named(db, owner, tenant, root):
    async with owner.transaction(tenant) as tx:
        await tx.connection.execute(text("UPDATE budget_accounts SET limit_tokens = limit_tokens + 7"))
    async with db.transaction(tenant) as tx:
        (breach,) = await tx.accounts.breaches()
    assert (breach.account, breach.dimension, breach.expected, breach.found) == (root, "tokens", 100, 107)
    assert "limit" in breach.law
