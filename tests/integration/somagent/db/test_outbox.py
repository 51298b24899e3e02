"""The outbox leaves whole: every event once it is committed, marked only when the batch held."""

import asyncio

import pytest
from entries import entry, key, run_id

from somagent.db.repositories.outbox import backlog, next_batch


async def _drain(relay) -> None:
    while True:
        async with next_batch(relay.engine) as batch:
            if not batch.events:
                return
            await batch.mark([event.id for event in batch.events])


async def test_events_of_every_tenant_leave_once(relay, ledger, tenant):
    await _drain(relay)
    runs = [run_id(tenant) for _ in range(3)]
    await asyncio.gather(*(ledger.begin(entry(key(tenant, run))) for run in runs))
    async with next_batch(relay.engine) as batch:
        assert {event.run for event in batch.events} == set(runs)
        async with next_batch(relay.engine) as other:
            assert other.events == ()  # locked by the first relay
        await batch.mark([event.id for event in batch.events])
    assert await backlog(relay.engine) == 0


async def test_a_batch_that_fails_is_offered_again(relay, ledger, tenant):
    await _drain(relay)
    await ledger.begin(entry(key(tenant, run_id(tenant))))

    async def fail() -> None:
        async with next_batch(relay.engine) as batch:
            await batch.mark([event.id for event in batch.events])
            raise OSError("bus is away")

    with pytest.raises(OSError, match="bus is away"):
        await fail()
    assert await backlog(relay.engine) == 2
    await _drain(relay)
