"""A schedule's runs bypass the API and meet the same gate."""

import asyncio
import time

from capsule_texts import utility
from platforms import Platform

HELLO = "print('\"hello\"')"


async def scheduled_run(platform: Platform, capsule: str, *, seconds: float = 30) -> dict[str, object]:
    """Wait for a run of the capsule that a schedule started, and return it when it has ended."""
    deadline = time.monotonic() + seconds
    while True:
        listed = await platform.operator.get("/v1/runs", params={"capsule": capsule})
        for run in listed.json()["items"]:
            return await platform.until(run["id"])
        assert time.monotonic() < deadline, f"no run of {capsule} appeared in {seconds} s"
        await asyncio.sleep(0.2)


async def test_a_triggered_schedule_runs_through_the_gate(platform: Platform) -> None:
    ref = await platform.publish(utility("by-hand", HELLO))
    body = {"name": "by-hand", "capsule": ref, "inputs": {}, "cron": ["0 7 * * 1"]}
    created = await platform.operator.post("/v1/schedules", json=body)
    assert created.status_code == 201, created.text
    assert (await platform.operator.post("/v1/schedules/by-hand/trigger")).status_code in {200, 202}
    run = await scheduled_run(platform, "by-hand")
    assert (run["status"], run["output"]) == ("completed", "hello"), run["reason"]
    kinds = [r["body"]["action"]["kind"] for r in await platform.receipts(str(run["id"])) if "action" in r["body"]]
    assert kinds[0] == "capsule.start"
    assert (await platform.operator.delete("/v1/schedules/by-hand")).status_code in {200, 204}


async def test_a_schedule_starts_by_itself_and_stops_when_paused(platform: Platform) -> None:
    ref = await platform.publish(utility("by-clock", HELLO))
    body = {"name": "by-clock", "capsule": ref, "inputs": {}, "every": "2s"}
    created = await platform.operator.post("/v1/schedules", json=body)
    assert created.status_code == 201, created.text
    run = await scheduled_run(platform, "by-clock")
    assert run["status"] == "completed", run["reason"]
    assert (await platform.operator.post("/v1/schedules/by-clock/pause")).status_code == 200
    await asyncio.sleep(1)
    before = len((await platform.operator.get("/v1/runs", params={"capsule": "by-clock"})).json()["items"])
    await asyncio.sleep(3)  # longer than its interval
    after = len((await platform.operator.get("/v1/runs", params={"capsule": "by-clock"})).json()["items"])
    assert after == before
    await platform.operator.delete("/v1/schedules/by-clock")


async def test_the_key_of_a_removed_capability_schedules_nothing(platform: Platform) -> None:
    ref = await platform.publish(utility("by-nobody", HELLO))
    body = {"name": "by-nobody", "capsule": ref, "inputs": {}, "every": "1h"}
    assert (await platform.approver.post("/v1/schedules", json=body)).status_code == 403
