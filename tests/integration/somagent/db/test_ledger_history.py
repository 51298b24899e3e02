"""What the database remembers of actors and targets: counted in windows, by index, for this tenant only."""

import time

import pytest
from ledger_messages import CONSTITUTION, begin_effect, finish_effect, key, next_number, run_id

from capsules.actions.ledger_messages import History, HistoryQuery, Tally
from somagent.db.database import Database
from somagent.db.gate.ledger import PostgresLedger

TARGET = HistoryQuery(kind="tool.invoke", target="python@1.0.0/run")
ADA = HistoryQuery(actor="ada")


async def _history(ledger: PostgresLedger, tenant: str, asked: HistoryQuery | None = None) -> History:
    return (await ledger.facts(tenant, run_id(tenant), None, CONSTITUTION, asked)).history


async def _use(ledger: PostgresLedger, tenant: str, run: str, *, ok: bool | None = True, **changes: object) -> None:
    attempt = key(tenant, run)
    await ledger.begin(begin_effect(attempt, **changes))
    if ok is not None:
        await ledger.finish(finish_effect(attempt, ok=ok))


async def test_uses_of_a_target_are_counted_when_they_have_ended(ledger: PostgresLedger, tenant: str):
    run = run_id(tenant)
    for ok in (True, True, False, None):
        await _use(ledger, tenant, run, ok=ok)
    await _use(ledger, tenant, run, target="shell@1.0.0/run")
    await _use(ledger, tenant, run, kind="capsule.start")
    assert (await _history(ledger, tenant, TARGET)).uses == Tally(of=3, bad=1)


async def test_what_was_not_asked_for_is_not_looked_up(ledger: PostgresLedger, tenant: str):
    await _use(ledger, tenant, run_id(tenant), ok=False)
    assert await _history(ledger, tenant) == History()
    assert (await _history(ledger, tenant, TARGET)).decisions == Tally()


async def test_an_actor_is_remembered_over_runs_by_what_was_denied(ledger: PostgresLedger, tenant: str):
    first, second = run_id(tenant), run_id(tenant)
    await _use(ledger, tenant, first)
    await _use(ledger, tenant, first, ok=None, decision="deny")
    await _use(ledger, tenant, second)
    await _use(ledger, tenant, run_id(tenant), actor="ben", decision="deny", ok=None)
    assert (await _history(ledger, tenant, ADA)).decisions == Tally(of=3, bad=1)


async def test_another_tenants_past_is_not_seen(ledger: PostgresLedger, tenant: str, owner: Database):
    other = f"store-{next_number()}"
    await owner.tenants.add(other)
    await _use(ledger, other, run_id(other), ok=False)
    both = TARGET.model_copy(update={"actor": "ada"})
    assert await _history(ledger, tenant, both) == History()


@pytest.mark.parametrize("effects", [100_000, pytest.param(1_000_000, marks=pytest.mark.long)])
async def test_many_effects_are_no_slower_to_remember(
    ledger: PostgresLedger, tenant: str, owner: Database, effects: int
):
    """A hundred thousand to a million effects, ten to a run, the last hundred in each second."""
    async with owner.pool.acquire() as connection, connection.transaction():
        await connection.execute("SELECT set_config('somagent.tenant', $1, true)", tenant)
        await connection.execute(
            "INSERT INTO runs (tenant_id, id, capsule, actor, status, inputs, decisions, denials, created_at, "
            "closed_at) "
            "SELECT $1, $1 || '/many/' || n, 'many@1.0.0', 'actor-' || n % 20, 'completed', '{}', 10, n % 3, "
            "now() - make_interval(secs => n), now() FROM generate_series(1, $2::int) AS n",
            tenant,
            effects // 10,
        )
        await connection.execute(
            "INSERT INTO effects (tenant_id, key, run, kind, target, action, state, attempt, started_at) "
            "SELECT $1, 'many/' || n, $1 || '/many/' || 1 + n % $2::int, 'tool.invoke', 'tool-' || n % 10 || '@1.0.0/run', "
            "'a', CASE WHEN n % 50 = 0 THEN 'failed' ELSE 'done' END, 1, now() - make_interval(secs => n / 100.0) "
            "FROM generate_series(1, 10 * $2::int) AS n",
            tenant,
            effects // 10,
        )
    async with owner.pool.acquire() as connection:
        await connection.execute("ANALYZE runs, effects")
    asked = HistoryQuery(actor="actor-3", kind="tool.invoke", target="tool-0@1.0.0/run")
    plain = await _median_milliseconds(ledger, tenant, None)
    wanted = await _median_milliseconds(ledger, tenant, asked)
    print(f"gate_facts: {plain:.2f} ms; with standing and trust of {effects:,} effects: {wanted:.2f} ms")
    assert (await _history(ledger, tenant, asked)).uses.of == 200
    assert (await _history(ledger, tenant, asked)).decisions.of == 1000
    assert wanted < plain + 5


async def _median_milliseconds(ledger: PostgresLedger, tenant: str, asked: HistoryQuery | None) -> float:
    times = []
    for _ in range(60):
        began = time.perf_counter()
        await _history(ledger, tenant, asked)
        times.append(time.perf_counter() - began)
    return sorted(times)[len(times) // 2] * 1000
