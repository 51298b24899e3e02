"""Following a run: every stored event once and in order, across reconnects, with the bus and without it."""

import asyncio
import json
from typing import Any

import httpx
import pytest
from api_callers import Callers, assert_problem, publish
from servers import settings_in

from api.authentication import Credential
from api.deps import State
from api.resources.runs.event_stream import Position, follow
from capsules.events import Event
from somagent.messaging.event_bus import EventBus, ValkeyTokens


async def started(http: httpx.AsyncClient, callers: Callers) -> str:
    await publish(http, callers)
    headers = callers.all() | {"Idempotency-Key": "live"}
    answer = await http.post("/v1/capsules/hello/runs", json={"inputs": {"text": "a"}}, headers=headers)
    assert answer.status_code == 202
    return str(answer.json()["id"])


async def add_event(state: State, tenant: str, run: str, type_: str, data: dict[str, Any]) -> Event:
    async with state.db.transaction(tenant) as tx:
        return await tx.events.add("agent.events", type_, run, data)


async def read_events(
    http: httpx.AsyncClient, run: str, headers: dict[str, str], *, most: int = 100
) -> list[dict[str, str]]:
    """Return the events of a stream until it ends or `most` came."""
    found: list[dict[str, str]] = []
    async with http.stream("GET", f"/v1/runs/{run.replace('/', '~')}/events", headers=headers) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        event: dict[str, str] = {}
        async for line in answer.aiter_lines():
            if line.startswith(":"):
                continue
            if line:
                name, _, value = line.partition(": ")
                event[name] = value
            elif event:
                found.append(event)
                event = {}
                if len(found) == most:
                    break
    return found


@pytest.mark.timeout(60)
async def test_stored_events_and_tokens_come_live_and_end_with_the_run(
    http: httpx.AsyncClient, callers: Callers, state: State, tenant: str
) -> None:
    run = await started(http, callers)
    watching = asyncio.create_task(read_events(http, run, callers.all()))
    await asyncio.sleep(0.3)
    await add_event(state, tenant, run, "run.changed", {"step": 1})
    await ValkeyTokens(state.bus).publish(tenant, run, step=1, attempt=1, text="Hel")
    await ValkeyTokens(state.bus).publish(tenant, run, step=1, attempt=1, text="lo\n")
    await state.bus.publish(await add_event(state, tenant, run, "action.finished", {"step": 1}))
    await asyncio.sleep(1.2)
    await add_event(state, tenant, run, "run.closed", {"status": "completed"})
    events = await watching
    names = [event["event"] for event in events]
    assert [name for name in names if name != "token"] == [
        "run.started",
        "run.changed",
        "action.finished",
        "run.closed",
    ]
    assert "".join(json.loads(e["data"])["text"] for e in events if e["event"] == "token") == "Hello\n"
    assert names[-1] == "run.closed"


@pytest.mark.timeout(60)
async def test_a_reader_that_comes_back_misses_nothing_and_hears_nothing_twice(
    http: httpx.AsyncClient, callers: Callers, state: State, tenant: str
) -> None:
    run = await started(http, callers)
    for step in range(6):
        await add_event(state, tenant, run, "run.changed", {"step": step})
        await ValkeyTokens(state.bus).publish(tenant, run, step=step, attempt=1, text=f"<{step}>")
    await add_event(state, tenant, run, "run.closed", {"status": "completed"})
    seen: list[dict[str, str]] = []
    while not seen or seen[-1]["event"] != "run.closed":
        headers = callers.all() | ({"Last-Event-ID": seen[-1]["id"]} if seen else {})
        seen += await read_events(http, run, headers, most=2)
    stored = [json.loads(e["data"])["id"] for e in seen if e["event"] != "token"]
    assert len(stored) == 8
    assert stored == sorted(set(stored))
    tokens = [json.loads(e["data"])["text"] for e in seen if e["event"] == "token"]
    assert len(tokens) == len(set(tokens))


@pytest.mark.timeout(60)
async def test_without_valkey_stored_events_still_come(
    http: httpx.AsyncClient, callers: Callers, state: State, tenant: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    run = await started(http, callers)
    nobody = EventBus(settings_in(tmp_path_factory.mktemp("bus")).redis_target())
    without = State(**{**vars(state), "bus": nobody})
    async with state.db.transaction(tenant) as tx:
        record = await tx.runs.get(run)
    token = callers.registry.tokens.verify_access(callers.all()["Authorization"].removeprefix("Bearer "))
    credential = Credential(token.claims, expires_at=token.expires_at)
    stream = follow(without, record, Position(), credential)
    names = []
    async for message in stream:
        if "event: " in message:
            names.append(message.split("event: ")[1].split("\n")[0])
            if names == ["run.started"]:
                await add_event(state, tenant, run, "run.closed", {"status": "failed"})
    assert names == ["run.started", "run.closed"]


async def test_an_event_id_that_is_not_ours_is_refused(http: httpx.AsyncClient, callers: Callers) -> None:
    run = await started(http, callers)
    headers = callers.all() | {"Last-Event-ID": "yesterday"}
    answer = await http.get(f"/v1/runs/{run.replace('/', '~')}/events", headers=headers)
    assert_problem(answer, 422, "Invalid", "header.last-event-id")
