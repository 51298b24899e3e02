"""What one action reads does not grow with the tenant, even before PostgreSQL has seen the tables: a database of its own.

PostgreSQL plans a function's statements once for each connection. Without statistics two indexes may look alike to it,
of which one reads every row of the tenant; the plan then stays until somebody analyses the table. So the first migration
tells it what to suppose.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import pytest
from constitutions import key_ring, make_active
from databases import own_database
from ledger_messages import CONSTITUTION, begin_effect, constitution, finish_effect, key, next_number
from sqlalchemy import text

from capsules.actions.ledger_messages import HistoryQuery
from capsules.budgets.account import AccountTerms
from capsules.budgets.amounts import Amounts
from capsules.digest import digest
from capsules.runs.run import CloseRun, NewRun
from somagent.db.database import Database, open_database
from somagent.db.gate.ledger import PostgresLedger
from somagent.db.gate.run_projection import PostgresRuns
from somagent.local_stack.postgres import superuser
from somagent.settings import Settings

TENANT = "grows"
FEW, MANY = 8, 300
MOST = 20
"""Rows more that a step may read: versions of the tenant's account that are not vacuumed yet."""
COST = Amounts(tokens=1)
READ = "SELECT coalesce(sum(seq_tup_read + coalesce(idx_tup_fetch, 0)), 0) FROM pg_stat_user_tables"


@dataclass
class Steps:
    """One run after another, step by step, all on one connection of each kind."""

    db: Database
    database: Callable[[], Awaitable[int]]

    def __post_init__(self) -> None:
        self.ledger = PostgresLedger(self.db)
        self.reads: dict[str, int] = {}

    async def run(self, *, counted: bool = True) -> None:
        """Take a run through all of its steps, and keep how many rows each read."""
        run = f"{TENANT}/word-count/{next_number()}"
        attempt = key(TENANT, run)
        asked = HistoryQuery()
        for name, step in {
            "enter": lambda: self._enter(run),
            "carve": lambda: self._carve(run),
            "facts": lambda: self.ledger.facts(TENANT, run, f"run:{run}", CONSTITUTION, asked),
            "begin": lambda: self.ledger.begin(begin_effect(attempt, cost=COST, account=f"run:{run}")),
            "finish": lambda: self.ledger.finish(finish_effect(attempt, usage=COST)),
            "show": lambda: self._show(run),
            "close": lambda: PostgresRuns(self.db).close(CloseRun(run=run, tenant=TENANT, status="completed")),
        }.items():
            before = await self._read() if counted else 0
            await step()
            if counted:
                self.reads[name] = await self._read() - before

    async def _enter(self, run: str) -> None:
        async with self.db.transaction(TENANT) as tx:
            await tx.runs.accept(
                NewRun(id=run, capsule="word-count@1.0.0", digest=digest({}), actor="ada", request=digest(run))
            )

    async def _carve(self, run: str) -> None:
        async with self.db.transaction(TENANT) as tx:
            await tx.accounts.carve_run(f"tenant:{TENANT}", f"run:{run}", Amounts(tokens=5), seconds=5)

    async def _show(self, run: str) -> None:
        async with self.db.transaction(TENANT) as tx:
            await tx.runs.get(run)
            await tx.accounts.get(f"run:{run}")

    async def _read(self) -> int:
        """Return how many rows were read so far. What a connection counted is told when it is next idle."""
        flush = "SELECT pg_stat_force_next_flush()"
        async with self.db.pool.acquire() as plain:
            await plain.execute(flush)
        async with self.db.transaction(TENANT) as tx:
            await tx.connection.execute(text(flush))
        return await self.database()


@pytest.fixture
async def steps(postgres_settings: Settings, template: str) -> AsyncIterator[Steps]:
    name = f"grows_{next_number()}"

    async def read() -> int:
        async with superuser(postgres_settings, database=name) as connection:
            return int(await connection.fetchval(READ))

    async with own_database(postgres_settings, name, template=template) as url:
        async with superuser(postgres_settings, database=name) as connection:
            for table in ("runs", "effects", "budget_accounts", "receipts", "ledger_entries", "outbox", "seal_pending"):
                await connection.execute(f"ALTER TABLE {table} SET (autovacuum_enabled = false)")
        sealing = key_ring(postgres_settings)
        async with open_database(url("owner"), keys=sealing) as owner:
            await owner.tenants.add(TENANT)
            await make_active(owner, constitution("2026-01-01T00:00:00Z"))
        async with open_database(url("app"), connections=1, keys=sealing) as db:
            async with db.transaction(TENANT) as tx:
                await tx.accounts.allow(
                    f"tenant:{TENANT}", None, AccountTerms(allowance=Amounts(tokens=10**6)), by="owner"
                )
            yield Steps(db, read)


async def test_a_step_of_a_run_reads_no_more_when_the_tenant_has_grown(steps: Steps) -> None:
    for _ in range(FEW):
        await steps.run()
    few = dict(steps.reads)
    for _ in range(MANY):
        await steps.run(counted=False)
    await steps.run()
    assert len(few) == len(steps.reads) == 7
    more = {step: (few[step], reads) for step, reads in steps.reads.items() if reads > few[step] + MOST}
    assert not more, f"rows read with {FEW} runs, and with {FEW + MANY}: {more}"
