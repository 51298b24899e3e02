"""People steer a run while it runs: pause, resume, cancel, message, more budget; each is answered and each is bounded."""

import asyncio
import json
import time
from urllib.parse import quote

from capsule_texts import utility
from platforms import Platform
from sandboxes import running_containers

SLEEPS = "import time\ntime.sleep(float(__import__('json').load(open('input.json'))['seconds']))\nprint('{}')"


async def test_cancelling_stops_the_container_within_ten_seconds(platform: Platform) -> None:
    run = await platform.start(await platform.publish(utility("sleeps", SLEEPS)), {"seconds": 25})
    deadline = time.monotonic() + 20
    while not running_containers(run):
        assert time.monotonic() < deadline, "no container appeared"
        await asyncio.sleep(0.1)
    told = time.monotonic()
    answer = await platform.tell(run, "cancel", {"reason": "Not needed any more."})
    assert answer.status_code == 200, answer.text
    shown = await platform.until(run, seconds=20)
    assert time.monotonic() - told < 10
    assert not running_containers(run)
    assert (shown["status"], shown["reason"]) == ("cancelled", "Not needed any more.")
    account = await platform.account(run)
    assert account["reserved"] == {"tokens": 0, "micro_usd": 0, "tool_calls": 0}


async def test_a_paused_run_starts_nothing_until_it_is_resumed(platform: Platform) -> None:
    ref = await platform.publish(two_steps("pauses"))
    run = await platform.start(ref, {"seconds": 2})
    await platform.until(run, "running")
    paused = await platform.tell(run, "pause", {"reason": "Coffee."})
    assert paused.status_code == 200, paused.text
    shown = await platform.until(run, "paused", seconds=30)
    assert shown["status"] == "paused", shown
    assert (await platform.tell(run, "resume")).status_code == 200
    assert (await platform.until(run))["status"] == "completed"


async def test_resuming_a_run_that_is_not_paused_is_a_conflict(platform: Platform) -> None:
    run = await platform.start(await platform.publish(utility("sleeps", SLEEPS)), {"seconds": 3})
    await platform.until(run, "running")
    assert (await platform.tell(run, "resume")).status_code == 409
    await platform.until(run)


async def test_an_exhausted_budget_waits_and_a_raise_goes_on(platform: Platform) -> None:
    ref = await platform.publish(two_steps("runs-dry", budget="{tool_calls: 1, wall_clock: 2m, on_exhausted: ask}"))
    run = await platform.start(ref, {"seconds": 0})
    shown = await platform.until(run, "awaiting_budget")
    assert shown["status"] == "awaiting_budget", shown["reason"]
    assert "tool_calls" in shown["reason"]
    own = await platform.operator.post(f"/v1/budgets/runs/{quote(run, safe='')}/raise", json={"tool_calls": 1})
    assert own.status_code == 403
    raised = await platform.approver.post(f"/v1/budgets/runs/{quote(run, safe='')}/raise", json={"tool_calls": 1})
    assert raised.status_code == 200, raised.text
    shown = await platform.until(run)
    assert (shown["status"], shown["spent"]["tool_calls"]) == ("completed", 2)


async def test_an_exhausted_budget_ends_a_run_that_does_not_ask(platform: Platform) -> None:
    ref = await platform.publish(two_steps("runs-out", budget="{tool_calls: 1, wall_clock: 2m}"))
    shown = await platform.run(ref, {"seconds": 0})
    assert shown["status"] == "failed"
    assert "budget cannot cover" in shown["reason"]


async def test_the_wall_clock_ends_a_run(platform: Platform) -> None:
    ref = await platform.publish(utility("lasts", SLEEPS, budget="{tool_calls: 2, wall_clock: 2s}"))
    shown = await platform.run(ref, {"seconds": 25})
    assert shown["status"] == "failed"
    assert "wall clock" in shown["reason"]
    assert not running_containers(shown["id"])


async def test_a_message_for_a_run_that_has_ended_is_refused(platform: Platform) -> None:
    run = await platform.run(await platform.publish(utility("sleeps", SLEEPS)), {"seconds": 0})
    assert (await platform.tell(run["id"], "messages", {"text": "Hello?"})).status_code == 409


def two_steps(name: str, *, budget: str = "{tool_calls: 2, wall_clock: 2m}") -> str:
    """An atomic capsule of two tool steps and no model."""
    step = {"use": "python/run", "with": {"code": SLEEPS, "input": "${{ inputs }}"}}
    steps = json.dumps([{"id": "first", **step}, {"id": "second", **step}])
    return (
        "apiVersion: somagent/v1\nkind: Capsule\n"
        f"metadata: {{name: {name}, version: 1.0.0, summary: Two steps.}}\n"
        "spec:\n  type: atomic\n  intent: Sleep twice.\n  inputs: {type: object}\n  deliverable: {schema: {}}\n"
        "  tools: [{use: python@1, actions: [run]}]\n  guardrails: {max_steps: 2}\n"
        f"  budget: {budget}\n  steps: {steps}\n"
    )
