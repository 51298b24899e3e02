"""Budgets balance to the unit, whatever happens at the same time."""

import asyncio
import random

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ledger_messages import begin_effect, finish_effect, key, next_number, run_id
from properties import examples

from capsules.budgets.amounts import Amounts
from capsules.errors import BudgetExhausted, Conflict, NotFound
from capsules.runs.run import CloseRun
from somagent.db.database import Database
from somagent.db.gate.ledger import PostgresLedger
from somagent.db.gate.run_projection import PostgresRuns

PLENTY = Amounts(tokens=10**6, micro_usd=10**6, tool_calls=10**6)


async def assert_balanced(db: Database, tenant: str) -> None:
    """Every law of the ledger holds."""
    async with db.transaction(tenant) as tx:
        assert await tx.accounts.breaches() == ()


async def test_two_hundred_concurrent_reservations_never_pass_the_limit(db, ledger: PostgresLedger, tenant):
    account = "shared"
    async with db.transaction(tenant) as tx:
        await tx.accounts.ensure(account, Amounts(tokens=1000, tool_calls=77))
    attempts = [key(tenant, f"{tenant}/x/{i % 10}") for i in range(200)]
    answers = await asyncio.gather(
        # as in as many workers, that take no turns
        *(
            PostgresLedger(db).begin(begin_effect(a, cost=Amounts(tokens=7, tool_calls=1), account=account))
            for a in attempts
        )
    )
    statuses = [a.status for a in answers]
    assert statuses.count("go") == 77
    assert statuses.count("exhausted") == 123
    async with db.transaction(tenant) as tx:
        assert (await tx.accounts.get(account)).reserved == Amounts(tokens=77 * 7, tool_calls=77)
    passed = [a for a, answer in zip(attempts, answers, strict=True) if answer.status == "go"]
    await asyncio.gather(*(ledger.finish(finish_effect(a, usage=Amounts(tokens=3, tool_calls=1))) for a in passed))
    async with db.transaction(tenant) as tx:
        account_now = await tx.accounts.get(account)
    assert (account_now.spent, account_now.reserved) == (Amounts(tokens=231, tool_calls=77), Amounts())
    await assert_balanced(db, tenant)


async def test_a_carved_account_takes_from_its_parent_and_gives_the_rest_back(db, ledger, tenant):
    run = run_id(tenant)
    async with db.transaction(tenant) as tx:
        await tx.accounts.ensure("root", Amounts(tokens=100))
        await tx.accounts.ensure("root", Amounts(tokens=5))
        first = await tx.accounts.carve("root", f"run:{run}", Amounts(tokens=60))
        assert await tx.accounts.carve("root", f"run:{run}", Amounts(tokens=60)) == first
        assert (await tx.accounts.get("root")).left == Amounts(tokens=40)
    attempt = key(tenant, run)
    await ledger.begin(begin_effect(attempt, cost=Amounts(tokens=25), account=f"run:{run}"))
    await ledger.finish(finish_effect(attempt, usage=Amounts(tokens=20)))
    async with db.transaction(tenant) as tx:
        assert await tx.accounts.close(f"run:{run}") == Amounts(tokens=20)
        assert await tx.accounts.close(f"run:{run}") == Amounts(tokens=20)
        root = await tx.accounts.get("root")
        assert (root.spent, root.reserved) == (Amounts(tokens=20), Amounts())
        kinds = [e.kind for e in await tx.accounts.ledger(f"run:{run}")]
        assert kinds == ["open", "reserve", "settle", "close"]
        assert [e.kind for e in await tx.accounts.ledger("root")] == ["open", "carve", "return"]
    with pytest.raises(Conflict, match="exists already"):
        async with db.transaction(tenant) as tx:
            await tx.accounts.carve("root", f"run:{run}", Amounts())
    await assert_balanced(db, tenant)


async def test_carving_more_than_is_left_names_account_and_dimension(db, tenant):
    async with db.transaction(tenant) as tx:
        await tx.accounts.ensure("root", Amounts(tokens=100, tool_calls=3))
    with pytest.raises(BudgetExhausted, match="'root' cannot cover 4 tool_calls: it has 3 left") as caught:
        async with db.transaction(tenant) as tx:
            await tx.accounts.carve("root", "child", Amounts(tokens=5, tool_calls=4))
    assert caught.value.fields["dimension"] == "tool_calls"
    assert caught.value.fields["left"] == {"tokens": 100, "micro_usd": 0, "tool_calls": 3}
    with pytest.raises(NotFound, match="no account 'nowhere'"):
        async with db.transaction(tenant) as tx:
            await tx.accounts.carve("nowhere", "child", Amounts())


async def test_many_carvings_at_once_never_pass_the_parents_limit(db, tenant):
    async with db.transaction(tenant) as tx:
        await tx.accounts.ensure("root", Amounts(tokens=100))

    async def carve(number: int) -> bool:
        try:
            async with db.transaction(tenant) as tx:
                await tx.accounts.carve("root", f"c{number}", Amounts(tokens=9))
        except BudgetExhausted:
            return False
        return True

    assert sum(await asyncio.gather(*(carve(i) for i in range(40)))) == 11
    await assert_balanced(db, tenant)


async def test_eight_children_spend_at_once_what_one_parent_has(db, tenant):
    """Nothing is left for a tenth account; each child reserves 40 times at once where 25 fit, settles and closes beside the others."""
    parent = run_id(tenant)
    async with db.transaction(tenant) as tx:
        await tx.accounts.ensure("root", Amounts(tokens=1000))
        await tx.accounts.carve("root", f"run:{parent}", Amounts(tokens=8 * 25))

    async def child(number: int) -> int:
        run = f"{parent}/{number}"
        async with db.transaction(tenant) as tx:
            await tx.accounts.carve(f"run:{parent}", f"run:{run}", Amounts(tokens=25))
        attempts = [key(tenant, run) for _ in range(40)]
        ledger = PostgresLedger(db)
        answers = await asyncio.gather(
            *(ledger.begin(begin_effect(a, cost=Amounts(tokens=1), account=f"run:{run}")) for a in attempts)
        )
        begun = [a for a, answer in zip(attempts, answers, strict=True) if answer.status == "go"]
        await asyncio.gather(
            *(ledger.finish(finish_effect(a, usage=Amounts(tokens=n % 2))) for n, a in enumerate(begun))
        )
        async with db.transaction(tenant) as tx:
            await tx.accounts.close(f"run:{run}")
        return len(begun)

    assert await asyncio.gather(*(child(number) for number in range(8))) == [25] * 8
    async with db.transaction(tenant) as tx:
        found = await tx.accounts.get(f"run:{parent}")
        assert (found.spent, found.reserved) == (Amounts(tokens=8 * 12), Amounts())
        await tx.accounts.carve(f"run:{parent}", "ninth", found.left)
    with pytest.raises(BudgetExhausted):
        async with db.transaction(tenant) as tx:
            await tx.accounts.carve(f"run:{parent}", "tenth", Amounts(tokens=1))
    await assert_balanced(db, tenant)


async def test_a_raise_counts_once_and_comes_from_the_parent(db, tenant):
    async with db.transaction(tenant) as tx:
        await tx.accounts.ensure("root", Amounts(tokens=100))
        await tx.accounts.carve("root", "child", Amounts(tokens=60))

    async def lift(key: str) -> None:
        async with db.transaction(tenant) as tx:
            await tx.accounts.raise_limit("child", Amounts(tokens=30), key=key, by="grace")

    await asyncio.gather(*(lift("one") for _ in range(10)))
    async with db.transaction(tenant) as tx:
        assert (await tx.accounts.get("child")).limit == Amounts(tokens=90)
        assert (await tx.accounts.get("root")).left == Amounts(tokens=10)
        raised = [e for e in await tx.accounts.ledger("child") if e.kind == "raise"]
    assert [(e.key, e.by, e.limit.tokens) for e in raised] == [("one", "grace", 30)]
    with pytest.raises(BudgetExhausted):
        await lift("two")
    await assert_balanced(db, tenant)


async def test_closing_counts_what_never_reported_as_spent_and_closes_the_children(db, ledger, tenant):
    run = run_id(tenant)
    child = f"{run}/task"
    async with db.transaction(tenant) as tx:
        await tx.accounts.ensure("root", Amounts(tokens=100))
        await tx.accounts.carve("root", f"run:{run}", Amounts(tokens=60))
        await tx.accounts.carve(f"run:{run}", f"run:{child}", Amounts(tokens=30))
    lost = key(tenant, child)
    await ledger.begin(begin_effect(key(tenant, run)))
    await ledger.begin(begin_effect(lost, cost=Amounts(tokens=13), account=f"run:{child}"))
    closed = await PostgresRuns(db).close(CloseRun(run=run, tenant=tenant, status="failed", reason="worker died"))
    assert closed.spent == Amounts(tokens=13)
    async with db.transaction(tenant) as tx:
        root = await tx.accounts.get("root")
        assert (await tx.runs.get(child)).parent == run
    assert (root.spent, root.reserved) == (Amounts(tokens=13), Amounts())
    with pytest.raises(Conflict, match="closed"):
        await ledger.finish(finish_effect(lost, usage=Amounts(tokens=1)))
    await assert_balanced(db, tenant)


async def test_a_reservation_that_does_not_fit_breaks_the_tables_own_constraint(db, owner, tenant):
    """The last defence, should a function forget to ask."""
    async with db.transaction(tenant) as tx:
        await tx.accounts.ensure("root", Amounts(tokens=10))
    async with owner.pool.acquire() as connection, connection.transaction():
        await connection.execute("SELECT set_config('somagent.tenant', $1, true)", tenant)
        with pytest.raises(asyncpg.CheckViolationError, match="budget_accounts_tokens"):
            await connection.execute(
                "SELECT account_post('root', 'reserve', 'k', '', amounts_none(), amounts_none(), (11, 0, 0)::amounts)"
            )


AMOUNTS = st.builds(
    Amounts,
    tokens=st.integers(0, 60),
    micro_usd=st.integers(0, 60),
    tool_calls=st.integers(0, 5),
)
MOVES = st.lists(
    st.tuples(st.sampled_from(["begin", "finish", "carve", "close", "lift", "close_run"]), AMOUNTS, AMOUNTS),
    min_size=5,
    max_size=40,
)


class AccountTree:
    """A tree of runs below one root, on which moves are made."""

    def __init__(self, db: Database, tenant: str, seed: int) -> None:
        self.db, self.tenant, self.chance = db, tenant, random.Random(seed)
        self.ledger, self.runs = PostgresLedger(db), PostgresRuns(db)
        self.first = f"{tenant}/x/{next_number()}"
        self.open, self.begun = [self.first], []

    async def set_up(self) -> str:
        root = f"root:{self.first}"
        async with self.db.transaction(self.tenant) as tx:
            await tx.accounts.ensure(root, Amounts(tokens=400, micro_usd=400, tool_calls=40))
            await tx.accounts.carve(root, f"run:{self.first}", Amounts(tokens=200, micro_usd=200, tool_calls=20))
        return root

    async def move(self, kind: str, one: Amounts, other: Amounts) -> None:
        await getattr(self, kind)(self.chance.choice(self.open), one, other)

    async def begin(self, run: str, cost: Amounts, _: Amounts) -> None:
        attempt = key(self.tenant, run)
        if (await self.ledger.begin(begin_effect(attempt, cost=cost, account=f"run:{run}"))).status == "go":
            self.begun.append(attempt)

    async def finish(self, _: str, __: Amounts, usage: Amounts) -> None:
        """Usage is drawn apart from the reservation: it may also be more."""
        if self.begun:
            attempt = self.begun.pop(self.chance.randrange(len(self.begun)))
            await self.ledger.finish(finish_effect(attempt, ok=self.chance.random() < 0.8, usage=usage))

    async def carve(self, run: str, limit: Amounts, _: Amounts) -> None:
        child = f"{run}/t{next_number()}"
        async with self.db.transaction(self.tenant) as tx:
            await tx.accounts.carve(f"run:{run}", f"run:{child}", limit)
        self.open.append(child)

    async def lift(self, run: str, extra: Amounts, _: Amounts) -> None:
        async with self.db.transaction(self.tenant) as tx:
            await tx.accounts.raise_limit(f"run:{run}", extra, key=str(next_number()), by="grace")

    async def close(self, run: str, _: Amounts, __: Amounts) -> None:
        if run != self.first:
            self.open.remove(run)
            async with self.db.transaction(self.tenant) as tx:
                await tx.accounts.close(f"run:{run}")

    async def close_run(self, run: str, _: Amounts, __: Amounts) -> None:
        if run != self.first:
            self.open.remove(run)
            await self.ledger.begin(begin_effect(key(self.tenant, run)))
            await self.runs.close(CloseRun(run=run, tenant=self.tenant, status="completed"))


@settings(max_examples=examples(10), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(moves=MOVES, seed=st.integers(0, 2**32))
async def test_interleaved_moves_balance_to_the_unit(db: Database, tenant: str, moves: list, seed: int):
    game = AccountTree(db, tenant, seed)
    root = await game.set_up()
    for start in range(0, len(moves), 4):
        answers = await asyncio.gather(*(game.move(*m) for m in moves[start : start + 4]), return_exceptions=True)
        for answer in answers:
            # Refusals are part of the game; anything else, a deadlock among them, is not.
            assert answer is None or isinstance(answer, BudgetExhausted | Conflict | NotFound), repr(answer)
    await assert_balanced(db, tenant)
    async with db.transaction(tenant) as tx:
        total = await tx.accounts.close(root)
        again = await tx.accounts.get(root)
    assert (again.spent, again.reserved) == (total, Amounts())
    await assert_balanced(db, tenant)
