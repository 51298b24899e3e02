"""Benchmark of reservations: on one account, on a thousand of one tenant, and in a tenant with few accounts."""

import asyncio
import itertools
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from bench import Bench, Turns, timed
from results import Goal, Result, result
from rig import CAPSULE, Rig, enter_run, rig

from capsules.actions.action import Action, Facts
from capsules.actions.ledger_messages import AttemptKey, BeginEffect, tenant_of
from capsules.actions.verdict import Verdict
from capsules.budgets.amounts import Amounts
from capsules.digest import digest
from somagent.db.database import open_database
from somagent.db.gate.ledger import PostgresLedger
from somagent.settings import Settings

AT_ONCE = 16
TURN = 400
"""Reservations in a turn."""
MANY = 1000
SMALL = "bench-small"
LIMIT = Amounts(micro_usd=90_000)
COST = Amounts(micro_usd=1)
ACTION = Action(kind="tool.invoke", target="python@1.0.0/run", cost=COST, idempotent=True, arguments=digest({}))


@dataclass(frozen=True)
class ReservationLoad:
    """Load of the gate's transaction, each committed: run's row, effect, reservation, receipt, event."""

    found: Rig
    ledger: PostgresLedger

    async def rate(self, runs: Sequence[str]) -> list[float]:
        """Return reservations per second, on the runs in turn."""
        work = iter(list(itertools.islice(itertools.cycle(runs), TURN)))
        seconds, _ = await timed(asyncio.gather(*(self._worker(work) for _ in range(AT_ONCE))))
        return [TURN / seconds]

    async def _worker(self, work: Iterator[str]) -> None:
        for run in work:
            begun = await self.ledger.begin(self._effect(run))
            assert begun.status == "go", begun

    def _effect(self, run: str) -> BeginEffect:
        verdict = Verdict(
            decision="allow", score=1_000_000, threshold=550_000, sentence="-", constitution=self.found.constitution
        )
        return BeginEffect(
            key=AttemptKey(tenant=tenant_of(run), run=run, execution="bench", activity=uuid.uuid4().hex, attempt=1),
            capsule=CAPSULE,
            actor="operator",
            account=f"run:{run}",
            action=ACTION,
            action_digest=digest(ACTION),
            facts=Facts(),
            verdict=verdict,
        )


async def measure(turns: Turns) -> list[Result]:
    async with rig(turns.settings) as found:
        load = ReservationLoad(found, PostgresLedger(found.assembly.db))
        small = await _small_tenant(turns.settings, found)
        many: list[str] = []
        while len(many) < MANY:
            many += [run.id for run in await found.new_runs(min(50, MANY - len(many)), LIMIT)]
        one, across, beside_few, beside_many = await turns.compare(
            *(partial(load.rate, runs) for runs in (many[:1], many, small, many[-len(small) :]))
        )
    unit = "reservations/s"
    return [
        result("reserve-one", unit, one),
        result("reserve-1000", unit, across, goal=Goal("ours", ">=", 1000)),
        result("reserve-tenant-size", unit, beside_many, beside_few, goal=Goal("ratio", ">=", 0.9)),
    ]


async def _small_tenant(settings: Settings, found: Rig) -> list[str]:
    """Return ten runs of a tenant that has no others."""
    async with open_database(settings.database("owner"), connections=1) as owner:
        await owner.tenants.add(SMALL)
    runs = []
    async with found.assembly.db.transaction(SMALL) as tx:
        for _ in range(10):
            runs.append(await enter_run(tx, SMALL))
            await tx.accounts.ensure(f"run:{runs[-1]}", LIMIT)
    return runs


BENCH = Bench(
    name="reservations",
    needs=("bootstrap", "temporal", "valkey"),
    measure=measure,
    explained={
        "reserve-one": "`PostgresLedger.begin` by 16 callers, all on one run's account: the run's row, the effect, the "
        "reservation, the receipt and the event, in one transaction each. They wait for each other's commit, as the "
        "receipts of a run are one chain.",
        "reserve-1000": "The same, across the accounts of 1,000 runs of one tenant.",
        "reserve-tenant-size": "The same on 10 runs of a tenant with 1,000 accounts, against 10 runs of a tenant that "
        "has no others: no action locks the tenant's row.",
    },
)
