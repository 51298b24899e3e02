"""Who watches a run sees every stored event once and in order, across a reconnect, and the model's words as they come."""

import json
from typing import Any

import httpx
from platforms import Platform

from somagent.capsule_files.library import Library


async def watch(
    client: httpx.AsyncClient, run: str, *, after: str | None = None, most: int = 10_000
) -> list[dict[str, Any]]:
    """Read the stream to its end, or until `most` events came."""
    found: list[dict[str, Any]] = []
    headers = {"Last-Event-ID": after} if after else {}
    async with client.stream("GET", f"/v1/runs/{run.replace('/', '~')}/events", headers=headers) as stream:
        event: dict[str, Any] = {}
        async for line in stream.aiter_lines():
            field, _, value = line.partition(": ")
            if field in {"id", "event"}:
                event[field] = value
            elif field == "data":
                event["data"] = json.loads(value)
            elif not line and "data" in event:
                found.append(event)
                event = {}
                if len(found) >= most:
                    break
    return found


async def test_a_reconnect_loses_and_repeats_nothing(platform: Platform) -> None:
    capsule = next(c for c in Library.load().capsules if c.metadata.name == "log-triage")
    run = await platform.start(capsule.ref, dict(capsule.spec.example or {}))
    first = await watch(platform.operator, run, most=4)
    rest = await watch(platform.operator, run, after=first[-1]["id"])
    stored = [e["data"]["id"] for e in [*first, *rest] if e["event"] != "token"]
    again = [e["data"]["id"] for e in await watch(platform.operator, run) if e["event"] != "token"]
    assert stored == again
    assert stored == sorted(set(stored))
    types = [e["event"] for e in [*first, *rest]]
    assert types[0] == "run.started"
    assert types[-1] == "run.closed"
    assert {"action.decided", "action.finished", "run.changed"} <= set(types)


async def test_the_models_words_come_live(platform: Platform) -> None:
    capsule = next(c for c in Library.load().capsules if c.metadata.name == "log-triage")
    run = await platform.start(capsule.ref, dict(capsule.spec.example or {}))
    words = "".join(e["data"]["text"] for e in await watch(platform.operator, run) if e["event"] == "token")
    note = (await platform.show(run))["output"]["note"]
    assert json.loads(words)["note"] == note


async def test_another_tenants_or_an_unknown_run_is_not_there(platform: Platform) -> None:
    answer = await platform.operator.get("/v1/runs/elsewhere~secret~1/events")
    assert answer.status_code == 404
