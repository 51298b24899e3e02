"""The outbox leaves whole: every event once it is committed, marked only when the batch held."""

import asyncio

import pytest
from ledger_messages import begin_effect, key, run_id

from somagent.db.repositories.outbox import next_batch


async def _drain(relay) -> None:
    while True:
        async with next_batch(relay.engine) as batch:
            if not batch.events:
                return
            await batch.mark_published()


async def test_events_of_every_tenant_leave_once(relay, ledger, tenant):
    await _drain(relay)
    runs = [run_id(tenant) for _ in range(3)]
    await asyncio.gather(*(ledger.begin(begin_effect(key(tenant, run))) for run in runs))
    async with next_batch(relay.engine) as batch:
        assert {event.run for event in batch.events} == set(runs)
        async with next_batch(relay.engine) as other:
            assert other.events == ()  # locked by the first relay
        await batch.mark_published()
    async with next_batch(relay.engine) as batch:
        assert batch.events == ()


async def test_a_batch_that_fails_is_offered_again(relay, ledger, tenant):
    await _drain(relay)
    await ledger.begin(begin_effect(key(tenant, run_id(tenant))))

    async def fail() -> None:
        async with next_batch(relay.engine) as batch:
            await batch.mark_published()
            raise OSError("bus is away")

    with pytest.raises(OSError, match="bus is away"):
        await fail()
    async with next_batch(relay.engine) as batch:
        assert len(batch.events) == 2
    await _drain(relay)
