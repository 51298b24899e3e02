"""An altered or unsigned constitution lets nothing through: running runs stop, and workers do not start again."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from chaos import back, kill, rows
from platforms import Platform
from servers import eventually

TWO_STEPS = """
apiVersion: somagent/v1
kind: Capsule
metadata: {name: two-naps, version: 1.0.0, summary: Sleeps twice.}
spec:
  type: atomic
  intent: Sleep.
  inputs: {type: object}
  deliverable: {schema: {}}
  tools: [{use: python@1, actions: [run]}]
  guardrails: {max_steps: 2}
  budget: {tool_calls: 2, wall_clock: 2m}
  steps:
    - {id: first, use: python/run, with: {code: "import time; time.sleep(4); print('{}')"}}
    - {id: second, use: python/run, with: {code: "print('{}')"}}
"""

ALTERED = "document = jsonb_set(document::jsonb, '{score,threshold}', '0.01')::json"
UNSIGNED = "signature = ''"


@asynccontextmanager
async def tampered(stack: Platform, change: str) -> AsyncIterator[None]:
    """Change the active constitution behind everybody's back, as somebody with the database in hand could."""
    (was,) = await rows(
        stack.settings, "SELECT digest, document::text, signature FROM constitutions WHERE state = 'active'"
    )
    await rows(stack.settings, f"UPDATE constitutions SET {change} WHERE state = 'active'")
    try:
        yield
    finally:
        await rows(
            stack.settings,
            "UPDATE constitutions SET document = $2, signature = $3 WHERE digest = $1",
            *(was["digest"], was["document"], was["signature"]),
        )


@pytest.mark.parametrize(("change", "why"), [(ALTERED, "was altered"), (UNSIGNED, "does not hold")])
async def test_a_run_stops_when_its_constitution_is_tampered_with(stack: Platform, change: str, why: str) -> None:
    run = await stack.start(await stack.publish(TWO_STEPS), {})

    async def at_work() -> None:
        assert (await rows(stack.settings, "SELECT FROM effects WHERE run = $1 AND kind = 'tool.invoke'", run)) != []

    await eventually(at_work, seconds=30)
    async with tampered(stack, change):
        ended = await stack.until(run, seconds=30)
    assert ended["status"] == "failed"
    assert ended["reason"].startswith("ConstitutionRefused: ")
    assert why in ended["reason"]
    begun = await rows(stack.settings, "SELECT FROM effects WHERE run = $1 AND kind = 'tool.invoke'", run)
    assert len(begun) == 1, "the second step began under a constitution that nobody signed"


async def test_no_worker_starts_under_an_altered_constitution(stack: Platform) -> None:
    supervisor = stack.supervisor
    async with tampered(stack, ALTERED):
        restarts = {part: kill(supervisor, part) for part in ("worker", "tools")}
        await asyncio.gather(*(_refuses_to_start(stack, part, restarts[part]) for part in restarts))
    await asyncio.gather(*(back(supervisor, part, restarts[part]) for part in restarts))


async def _refuses_to_start(stack: Platform, part: str, restarts: int) -> None:
    """See it end by itself after it was killed, and say why."""
    runner = stack.supervisor.runners[part]

    async def ended_again() -> None:
        assert runner.state.restarts >= restarts + 2, f"{part} is {runner.state.phase}: {runner.state.message}"

    await eventually(ended_again, seconds=40)
    assert runner.state.phase != "ready"
    log = runner.state.log.read_text()
    assert "worker_refused_to_start" in log
    assert "ConstitutionRefused" in log
    assert "was altered" in log
