"""Budget pressure: 50, 80 and 100 per cent of each limit are told once each, in the transaction that crosses them."""

import pytest
from ledger_messages import begin_effect, finish_effect, key, run_id

from capsules.budgets.amounts import Amounts
from somagent.db.database import Database
from somagent.db.gate.ledger import PostgresLedger


async def threshold_events(db: Database, tenant: str, run: str) -> list[tuple[str, int, int]]:
    async with db.transaction(tenant) as tx:
        events = await tx.events.after(run)
    pressure = [event.data for event in events if event.type == "budget.pressure"]
    assert all(one["account"] == f"run:{run}" for one in pressure)
    return [(one["dimension"], one["percent"], one["spent"]) for one in pressure]


@pytest.fixture
async def run(db: Database, tenant: str) -> str:
    run = run_id(tenant)
    async with db.transaction(tenant) as tx:
        await tx.accounts.ensure(f"run:{run}", Amounts(tokens=100, tool_calls=4))
    return run


async def spend(ledger: PostgresLedger, run: str, amounts: Amounts) -> None:
    attempt = key(run.partition("/")[0], run)
    assert (await ledger.begin(begin_effect(attempt, cost=amounts, account=f"run:{run}"))).status == "go"
    await ledger.finish(finish_effect(attempt, usage=amounts))
    await ledger.finish(finish_effect(attempt, usage=amounts))  # told again by a retry: settled once, told once


async def test_each_threshold_is_told_once_by_dimension(
    db: Database, ledger: PostgresLedger, tenant: str, run: str
) -> None:
    await spend(ledger, run, Amounts(tokens=49, tool_calls=1))
    assert await threshold_events(db, tenant, run) == []
    await spend(ledger, run, Amounts(tokens=1))
    assert await threshold_events(db, tenant, run) == [("tokens", 50, 50)]
    await spend(ledger, run, Amounts(tokens=10, tool_calls=1))
    assert (await threshold_events(db, tenant, run))[1:] == [("tool_calls", 50, 2)]
    await spend(ledger, run, Amounts(tokens=40, tool_calls=2))
    assert (await threshold_events(db, tenant, run))[2:] == [("tokens", 100, 100), ("tool_calls", 100, 4)], (
        "the greatest reached"
    )


async def test_a_raise_moves_the_thresholds(db: Database, ledger: PostgresLedger, tenant: str, run: str) -> None:
    await spend(ledger, run, Amounts(tokens=80))
    async with db.transaction(tenant) as tx:
        await tx.accounts.raise_limit(f"run:{run}", Amounts(tokens=100), key="more", by="rosa")
    await spend(ledger, run, Amounts(tokens=20))
    assert await threshold_events(db, tenant, run) == [("tokens", 80, 80), ("tokens", 50, 100)], (
        "of the limit that there is"
    )


async def test_a_limit_of_nothing_has_no_thresholds(
    db: Database, ledger: PostgresLedger, tenant: str, run: str
) -> None:
    await spend(ledger, run, Amounts(tokens=1))
    assert await threshold_events(db, tenant, run) == []
