"""The contract of the bus, on Valkey."""

import asyncio
from contextlib import aclosing
from datetime import UTC, datetime

import pytest
import redis.asyncio as redis
from servers import free_ports

from capsules.errors import Unavailable
from capsules.events import Event
from somagent.messaging.event_bus import (
    KEPT,
    KEPT_SECONDS,
    START,
    Entry,
    EventBus,
    ValkeyTokens,
    run_stream,
    topic_stream,
)


def event(id_: int, *, tenant: str = "t1", run: str | None = "t1/word-count/1", **data) -> Event:
    return Event(
        id=id_, topic="agent.events", type="run.changed", tenant=tenant, run=run, at=datetime.now(UTC), data=data
    )


async def take_entries(bus: EventBus, count: int, *, tenant: str = "t1", run: str, after: str = START) -> list[Entry]:
    entries: list[Entry] = []
    async with asyncio.timeout(10), aclosing(bus.tail(tenant, run, after)) as tail:
        async for entry in tail:
            entries.append(entry)
            if len(entries) == count:
                return entries
    raise AssertionError


async def test_events_and_tokens_arrive_in_the_order_they_were_sent(bus: EventBus):
    run = "t1/order/1"
    await bus.publish(event(1, run=run))
    await ValkeyTokens(bus).publish("t1", run, step=1, attempt=1, text="Zür")
    await ValkeyTokens(bus).publish("t1", run, step=1, attempt=1, text="ich")
    await bus.publish(event(2, run=run, note="\N{SNOWMAN}"))
    entries = await take_entries(bus, 4, run=run)
    assert [kind for _, kind, _ in entries] == ["event", "token", "token", "event"]
    assert entries[1][2] == {"step": 1, "attempt": 1, "text": "Zür"}
    assert Event.model_validate(entries[3][2]) == event(2, run=run, note="\N{SNOWMAN}").model_copy(
        update={"at": Event.model_validate(entries[3][2]).at}
    )


async def test_reading_goes_on_after_the_last_id(bus: EventBus):
    run = "t1/resume/1"
    await bus.publish(*(event(n, run=run) for n in range(5)))
    first = await take_entries(bus, 2, run=run)
    rest = await take_entries(bus, 3, run=run, after=first[-1][0])
    assert [document["id"] for _, _, document in rest] == [2, 3, 4]


async def test_a_reader_that_waits_gets_what_comes_later(bus: EventBus):
    waiting = asyncio.create_task(take_entries(bus, 1, run="t1/later/1"))
    await asyncio.sleep(1.3)  # longer than one blocking read
    await bus.publish(event(7, run="t1/later/1"))
    [(_, kind, document)] = await waiting
    assert (kind, document["id"]) == ("event", 7)


async def test_runs_and_tenants_have_streams_of_their_own(bus: EventBus):
    await bus.publish(event(1, tenant="t1", run="shared-name"))
    await bus.publish(event(2, tenant="t2", run="shared-name"))
    [(_, _, document)] = await take_entries(bus, 1, tenant="t2", run="shared-name")
    assert document["id"] == 2


async def test_an_event_without_a_run_reaches_its_topic(bus: EventBus, valkey: str):
    await bus.publish(event(99, run=None))
    async with redis.from_url(valkey, decode_responses=True) as raw:
        [(_, fields)] = await raw.xrevrange(topic_stream("agent.events"), count=1)
    assert Event.model_validate_json(fields["event"]).id == 99


async def test_streams_are_cut_and_expire(bus: EventBus, valkey: str):
    run = "t1/long/1"
    await bus.publish(*(event(n, run=run) for n in range(KEPT + 2_000)))
    async with redis.from_url(valkey) as raw:
        assert KEPT <= await raw.xlen(run_stream("t1", run)) < KEPT + 200
        assert KEPT_SECONDS - 60 < await raw.ttl(run_stream("t1", run)) <= KEPT_SECONDS


async def test_a_valkey_that_is_gone_is_unavailable_and_named():
    [port] = free_ports(1)
    async with EventBus(f"redis://:hush@127.0.0.1:{port}/0") as bus:
        with pytest.raises(Unavailable, match=f"127.0.0.1:{port}") as failed:
            await bus.publish(event(1))
        assert "hush" not in failed.value.message
        with pytest.raises(Unavailable):
            await take_entries(bus, 1, run="t1/none/1")


async def test_tokens_are_dropped_and_counted_when_valkey_is_gone():
    [port] = free_ports(1)
    loop = asyncio.get_running_loop()
    async with EventBus(f"redis://127.0.0.1:{port}/0") as bus:
        tokens = ValkeyTokens(bus)
        began = loop.time()
        for _ in range(500):
            await tokens.publish("t1", "t1/none/1", step=1, attempt=1, text="x")
        assert tokens.dropped == 500
        assert loop.time() - began < 5, "a model does not wait for those who watch"
