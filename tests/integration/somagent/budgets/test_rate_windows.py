"""Rate windows on a real Valkey and the real ledger: never passed, never double, lost and filled again."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
from ledger_messages import begin_effect, finish_effect, key, next_number
from redis.asyncio import Redis

from capsules.budgets.account import AccountTerms, Rate, RateBound
from capsules.budgets.amounts import Amounts
from capsules.errors import Unavailable
from somagent.budgets.rate_windows import SETTLING_MS, ValkeyWindows
from somagent.db.database import Database
from somagent.db.gate.effects import recent_effects
from somagent.db.gate.ledger import PostgresLedger

SETTLED = SETTLING_MS / 1000 + 0.1


@pytest.fixture
async def tenant(owner: Database, db: Database) -> str:
    name = f"rates-{next_number()}"
    await owner.tenants.add(name)
    async with db.transaction(name) as tx:
        terms = AccountTerms(allowance=Amounts(tokens=10**6, tool_calls=10**6))
        await tx.accounts.allow(f"tenant:{name}", None, terms, by="owner")
    return name


@pytest.fixture
async def windows(valkey: str, db: Database) -> AsyncIterator[ValkeyWindows]:
    async with ValkeyWindows(valkey, db) as opened:
        yield opened


def rate_bound(tenant: str, *, tokens: int | None = None, calls: int | None = None) -> RateBound:
    return RateBound(account=f"tenant:{tenant}", tokens=tokens, calls=calls)


async def fill_window(windows: ValkeyWindows, tenant: str, *bounds: RateBound) -> None:
    """Let a window that nobody used before be filled."""
    slow = await windows.take(tenant, bounds, effect="first", tokens=0)
    assert slow is not None
    assert "filled from the ledger" in slow.sentence
    await asyncio.sleep(SETTLED)
    assert await windows.take(tenant, bounds, effect="first", tokens=0) is None
    await windows.correct(tenant, bounds, effect="first", tokens=None)


async def test_two_hundred_at_once_never_pass_the_bound(windows: ValkeyWindows, tenant: str) -> None:
    most = rate_bound(tenant, tokens=1000, calls=77)
    await fill_window(windows, tenant, most)
    answers = await asyncio.gather(*(windows.take(tenant, [most], effect=f"e{n}", tokens=7) for n in range(200)))
    assert answers.count(None) == 77
    slow = next(one for one in answers if one is not None)
    assert 0 < (slow.seconds or 0) <= 60
    assert slow.sentence == f"The 1,000 tokens and 77 calls a minute of tenant:{tenant} are in use."


async def test_tokens_are_bounded_and_corrected_when_they_are_counted(windows: ValkeyWindows, tenant: str) -> None:
    most = rate_bound(tenant, tokens=100)
    await fill_window(windows, tenant, most)
    assert await windows.take(tenant, [most], effect="a", tokens=80) is None
    assert await windows.take(tenant, [most], effect="b", tokens=30) is not None
    await windows.correct(tenant, [most], effect="a", tokens=60)
    assert await windows.take(tenant, [most], effect="b", tokens=30) is None
    assert await windows.take(tenant, [most], effect="b", tokens=30) is None, "again is the same effect"
    assert await windows.take(tenant, [most], effect="c", tokens=11) is not None
    await windows.correct(tenant, [most], effect="b", tokens=None)
    assert await windows.take(tenant, [most], effect="c", tokens=11) is None
    await windows.correct(tenant, [most], effect="never began", tokens=500)
    assert await windows.take(tenant, [most], effect="d", tokens=29) is None


async def test_an_effect_counts_under_every_account_or_under_none(windows: ValkeyWindows, tenant: str) -> None:
    wide, narrow = rate_bound(tenant, calls=5), RateBound(account="project:web", calls=1)
    await fill_window(windows, tenant, wide)
    await fill_window(windows, tenant, narrow)
    assert await windows.take(tenant, [wide, narrow], effect="a", tokens=0) is None
    slow = await windows.take(tenant, [wide, narrow], effect="b", tokens=0)
    assert slow is not None
    assert slow.account == "project:web"
    for name in "cdef":
        assert await windows.take(tenant, [wide], effect=name, tokens=0) is None, "b was not counted above"


async def run_effect(db: Database, tenant: str, ledger: PostgresLedger, project: str | None, used: int | None) -> str:
    """Begin one effect of fifty tokens; end it with what it used, where that is given."""
    parent = f"project:{project}" if project else f"tenant:{tenant}"
    act = key(tenant, f"{tenant}/x/{next_number()}")
    async with db.transaction(tenant) as tx:
        await tx.accounts.carve(parent, f"run:{act.run}", Amounts(tokens=50))
    await ledger.begin(begin_effect(act, cost=Amounts(tokens=50), account=f"run:{act.run}"))
    if used is not None:
        await ledger.finish(finish_effect(act, usage=Amounts(tokens=used)))
    return act.effect


@pytest.fixture
async def project(db: Database, tenant: str) -> str:
    async with db.transaction(tenant) as tx:
        terms = AccountTerms(allowance=Amounts(tokens=1000), rate=Rate(tokens=100))
        await tx.accounts.allow("project:web", f"tenant:{tenant}", terms, by="rosa")
    return "web"


async def test_what_a_window_is_filled_from_is_the_ledger(db: Database, tenant: str, project: str) -> None:
    ledger = PostgresLedger(db)
    under_way = await run_effect(db, tenant, ledger, project, None)
    ended = await run_effect(db, tenant, ledger, project, 20)
    elsewhere = await run_effect(db, tenant, ledger, None, 5)
    of_project = {one.effect: one.tokens for one in await recent_effects(db, tenant, "project:web", seconds=60)}
    assert of_project == {under_way: 50, ended: 20}
    of_tenant = {one.effect: one.tokens for one in await recent_effects(db, tenant, f"tenant:{tenant}", seconds=60)}
    assert of_tenant == {under_way: 50, ended: 20, elsewhere: 5}


async def test_a_flushed_valkey_forgets_nothing(
    valkey: str, windows: ValkeyWindows, db: Database, tenant: str, project: str
) -> None:
    ledger = PostgresLedger(db)
    bounds = [RateBound(account="project:web", tokens=100)]
    await fill_window(windows, tenant, *bounds)
    for used in (None, 20):
        effect = await run_effect(db, tenant, ledger, project, used)
        assert await windows.take(tenant, bounds, effect=effect, tokens=50) is None
        if used is not None:
            await windows.correct(tenant, bounds, effect=effect, tokens=used)
    assert await windows.take(tenant, bounds, effect="more", tokens=31) is not None

    client = Redis.from_url(valkey)
    mine = [name async for name in client.scan_iter(match=f"somagent:pace:{{{tenant}}}*")]
    await client.delete(*mine)  # as a flush does; other tests share this server
    lost = await windows.take(tenant, bounds, effect="more", tokens=30)
    assert lost is not None
    assert "lost" in lost.sentence
    await asyncio.sleep(SETTLED)
    both = await asyncio.gather(*(windows.take(tenant, bounds, effect=f"m{n}", tokens=31) for n in range(5)))
    assert None not in both
    assert await windows.take(tenant, bounds, effect="more", tokens=30) is None

    mark = f"somagent:pace:{{{tenant}}}:project:web:whole"
    await client.set(mark, "0" * 40)  # as an old copy that a restart brought back
    lost = await windows.take(tenant, bounds, effect="more", tokens=0)
    assert lost is not None
    assert "lost" in lost.sentence
    await client.aclose()


async def test_without_valkey_nothing_is_let_through(db: Database, tenant: str) -> None:
    async with ValkeyWindows("redis://127.0.0.1:1/0", db) as nowhere:
        began = time.monotonic()
        with pytest.raises(Unavailable, match="nothing runs"):
            await nowhere.take(tenant, [rate_bound(tenant, calls=5)], effect="a", tokens=0)
        assert time.monotonic() - began < 5


async def test_what_began_a_minute_ago_counts_no_more(valkey: str, windows: ValkeyWindows, tenant: str) -> None:
    most = rate_bound(tenant, tokens=100, calls=2)
    await fill_window(windows, tenant, most)
    for name, tokens in (("a", 60), ("b", 40)):
        assert await windows.take(tenant, [most], effect=name, tokens=tokens) is None
    client = Redis.from_url(valkey)
    began = f"somagent:pace:{{{tenant}}}:tenant:{tenant}:began"
    await client.zincrby(began, -59_000, "a")
    slow = await windows.take(tenant, [most], effect="c", tokens=50)
    assert slow is not None
    assert 0 < (slow.seconds or 0) <= 1, "when the first one falls out there is room"
    await client.zincrby(began, -1_000, "a")
    assert await windows.take(tenant, [most], effect="c", tokens=50) is None
    assert await windows.take(tenant, [most], effect="d", tokens=1) is not None
    await client.aclose()
