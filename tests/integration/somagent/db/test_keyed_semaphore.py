"""KeyedSemaphore: a limit for each key, no wait between keys, and nothing kept of a key that is released."""

import asyncio
import contextlib
import gc

from ledger_messages import begin_effect, key, run_id
from sqlalchemy import func, select

from capsules.budgets.amounts import Amounts
from capsules.digest import digest
from capsules.runs.run import NewRun
from somagent.db.database import Database, open_database
from somagent.db.gate.ledger import KeyedSemaphore, PostgresLedger


async def test_so_many_at_once_in_the_order_in_which_they_asked() -> None:
    semaphores, inside, most, order = KeyedSemaphore(2), 0, 0, []

    async def take(number: int) -> None:
        nonlocal inside, most
        async with semaphores.hold("run"):
            order.append(number)
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0.001)
            inside -= 1

    await asyncio.gather(*(take(number) for number in range(20)))
    assert (most, order) == (2, list(range(20)))


async def test_another_thing_does_not_wait_and_a_failure_or_a_cancellation_gives_the_turn_back() -> None:
    semaphores = KeyedSemaphore(1)
    async with semaphores.hold("a"), asyncio.timeout(1), semaphores.hold("b"):
        await _begin_and_cancel(semaphores, "a")
    with contextlib.suppress(RuntimeError):
        await _fail(semaphores, "a")
    async with asyncio.timeout(1), semaphores.hold("a"):
        pass
    gc.collect()
    assert not semaphores._semaphores, "a run that is over leaves nothing behind"


async def _begin_and_cancel(semaphores: KeyedSemaphore, what: str) -> None:
    waiting = asyncio.create_task(_fail(semaphores, what))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])


async def _fail(semaphores: KeyedSemaphore, what: str) -> None:
    async with semaphores.hold(what):
        raise RuntimeError


async def test_a_run_with_many_actions_leaves_connections_to_others(
    db: Database, postgres_settings, tenant: str
) -> None:
    """Somebody holds the row of a busy run; of eight connections its forty actions take two, and another run goes on."""
    busy, other = run_id(tenant), run_id(tenant)
    async with db.transaction(tenant) as tx:
        for run in (busy, other):
            await tx.runs.accept(
                NewRun(id=run, capsule="word-count@1.0.0", digest=digest({}), actor="ada", request=digest(run))
            )
            await tx.accounts.ensure(f"run:{run}", Amounts(tokens=100))

    def asked(run: str):
        return begin_effect(key(tenant, run), cost=Amounts(tokens=1), account=f"run:{run}")

    async with open_database(postgres_settings.database("app"), connections=8) as small:
        ledger = PostgresLedger(small)
        async with db.transaction(tenant) as tx:
            await tx.connection.execute(select(func.run_lock(busy)))
            actions = [asyncio.create_task(ledger.begin(asked(busy))) for _ in range(40)]
            await asyncio.sleep(0.5)  # as many as may are on their way now
            async with asyncio.timeout(5):
                assert (await ledger.begin(asked(other))).status == "go"
            assert not any(action.done() for action in actions)
        assert {begun.status for begun in await asyncio.gather(*actions)} == {"go"}
