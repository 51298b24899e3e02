"""PostgreSQL killed while two hundred reservations are on their way: nothing is lost, nothing is counted twice."""

import asyncio
import datetime as dt
from collections.abc import Sequence
from typing import Any

from chaos import kill, wait_until_ready
from constitutions import key_ring, make_active
from ledger_messages import begin_effect, constitution, finish_effect, key
from servers import eventually, running, settings_in, temporary_home

from capsules.actions.ledger_messages import AttemptKey, FinishEffect
from capsules.budgets.amounts import Amounts
from capsules.errors import Unavailable
from somagent.db.database import open_database
from somagent.db.gate.ledger import PostgresLedger
from somagent.db.schema.migrate import upgrade

ATTEMPTS = 200
LIMIT = 120
COST = Amounts(tokens=7, tool_calls=1)


async def begin(ledger: PostgresLedger, first: AttemptKey) -> tuple[AttemptKey, str, int]:
    """Try until there is an answer, each time as a new attempt at the same effect, as a worker does."""
    lost = 0
    while True:
        attempt = first.model_copy(update={"attempt": first.attempt + lost})
        try:
            return attempt, (await ledger.begin(begin_effect(attempt, cost=COST, account="shared"))).status, lost
        except Unavailable:
            lost += 1
            await asyncio.sleep(0.1)


async def finish(ledger: PostgresLedger, exit_with: FinishEffect) -> None:
    """Tell until it is written, as the interceptor does."""
    while True:
        try:
            await ledger.finish(exit_with)
        except Unavailable:
            await asyncio.sleep(0.1)
        else:
            return


async def wait_for_some(tasks: Sequence[asyncio.Task[Any]], count: int) -> None:
    async def enough() -> None:
        assert sum(task.done() for task in tasks) >= count

    await eventually(enough, seconds=30)


async def test_a_crash_in_the_middle_of_reserving_and_settling_loses_and_doubles_nothing() -> None:
    tenant = "crash"
    with temporary_home() as home:
        settings = settings_in(home)
        async with running(settings, "postgres") as supervisor:
            await upgrade(settings.database("owner"))
            async with open_database(settings.database("owner"), keys=key_ring(settings)) as owner:
                await make_active(owner, constitution(dt.datetime.now(dt.UTC)))
                await owner.tenants.add(tenant)
            async with open_database(settings.database("app"), connections=20) as db:
                async with db.transaction(tenant) as tx:
                    await tx.accounts.ensure("shared", Amounts(tokens=10**6, tool_calls=LIMIT))
                ledger = PostgresLedger(db)
                begun = [
                    asyncio.create_task(begin(ledger, key(tenant, f"{tenant}/x/{n % 10}"))) for n in range(ATTEMPTS)
                ]
                await wait_for_some(begun, ATTEMPTS // 4)
                restarts = kill(supervisor, "postgres")
                await wait_until_ready(supervisor, "postgres", restarts)
                answers = await asyncio.gather(*begun)
                assert sum(lost for _, _, lost in answers) > 0, "the crash met nobody"
                passed = [attempt for attempt, status, _ in answers if status == "go"]
                assert len(passed) == LIMIT
                async with db.transaction(tenant) as tx:
                    account = await tx.accounts.get("shared")
                    assert account.reserved == Amounts(tokens=7 * LIMIT, tool_calls=LIMIT)
                    assert await tx.accounts.breaches() == ()

                used = Amounts(tokens=5, tool_calls=1)
                settled = [
                    asyncio.create_task(finish(ledger, finish_effect(attempt, usage=used))) for attempt in passed
                ]
                await wait_for_some(settled, LIMIT // 4)
                restarts = kill(supervisor, "postgres")
                await wait_until_ready(supervisor, "postgres", restarts)
                await asyncio.gather(*settled)
                async with db.transaction(tenant) as tx:
                    account = await tx.accounts.get("shared")
                    assert (account.spent, account.reserved) == (Amounts(tokens=5 * LIMIT, tool_calls=LIMIT), Amounts())
                    assert await tx.accounts.breaches() == ()
