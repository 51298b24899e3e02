"""Histories stay small and straight, and continuing as new loses nothing that was said."""

import asyncio
import json

import pytest
from platforms import Platform

from somagent.identity.keys import KeyRing
from somagent.temporal.client import connect

MOST_OF_A_STEP = 5 * 2**20 // 200
"""Bytes of history: two hundred steps fit into 5 MiB."""


def long_capsule(name: str, steps: list[dict[str, object]], *, wall_clock: str = "15m") -> str:
    return (
        "apiVersion: somagent/v1\nkind: Capsule\n"
        f"metadata: {{name: {name}, version: 1.0.0, summary: Many steps.}}\n"
        "spec:\n  type: atomic\n  intent: Count.\n  inputs: {type: object}\n  deliverable: {schema: {}}\n"
        "  persona: analyst@^1\n  model: {role: dialogue, max_output_tokens: 16}\n"
        "  tools: [{use: python@1, actions: [run]}]\n"
        f"  guardrails: {{max_steps: {len(steps)}}}\n"
        f"  budget: {{tokens: 5000000, tool_calls: {len(steps)}, wall_clock: {wall_clock}}}\n"
        f"  steps: {json.dumps(steps)}\n"
    )


def think_step(number: int) -> dict[str, object]:
    shape = {
        "type": "object",
        "properties": {"n": {"enum": [number]}},
        "required": ["n"],
        "additionalProperties": False,
    }
    return {"id": f"think_{number}", "think": f"Say {number}.", "schema": shape}


def tool(number: int) -> dict[str, object]:
    return {"id": f"tool_{number}", "use": "python/run", "with": {"code": f"print({number})"}}


@pytest.mark.parametrize("count", [40, pytest.param(200, marks=pytest.mark.long)])
async def test_a_run_of_many_steps_has_a_small_history_that_grows_evenly(platform: Platform, count: int) -> None:
    steps = [tool(n) if n % 4 else think_step(n) for n in range(count)]
    run = await platform.run(await platform.publish(long_capsule(f"steps-{count}", steps)), {}, seconds=280)
    assert run["status"] == "completed", run["reason"]
    client = await connect(platform.settings, KeyRing.load(platform.settings.keys_dir))
    history = await client.get_workflow_handle(run["id"]).fetch_history()
    sizes = [event.ByteSize() for event in history.events]
    assert sum(sizes) < count * MOST_OF_A_STEP
    quarter = len(sizes) // 4
    early, late = sum(sizes[quarter : 2 * quarter]), sum(sizes[3 * quarter :])
    assert late < early * 1.15, f"the last quarter has {late} bytes, the second {early}"


async def test_messages_survive_continuing_as_new(fault_stack: Platform) -> None:
    """Send messages for as long as a run that continues as new again and again takes them."""
    ref = await fault_stack.publish(long_capsule("continues", [tool(n) for n in range(40)]))
    run = await fault_stack.start(ref, {})
    sent = 0
    while (await fault_stack.show(run))["status"] in {"starting", "running"}:
        answers = await asyncio.gather(
            *(fault_stack.tell(run, "messages", {"id": f"m{sent + n}", "text": "Go on."}) for n in range(5))
        )
        # The last ones can meet a run that has just ended; everything that was accepted counts.
        sent += sum(answer.status_code == 202 for answer in answers)
    shown = await fault_stack.show(run)
    assert (shown["status"], shown["output"]) == ("completed", 39), shown["reason"]
    client = await connect(fault_stack.settings, KeyRing.load(fault_stack.settings.keys_dir))
    description = await client.get_workflow_handle(run).describe()
    assert description.run_id != description.raw_description.workflow_execution_info.first_run_id
    state = await fault_stack.operator.get(f"/v1/runs/{run.replace('/', '~')}/state")
    assert state.json()["messages"] == min(sent, 500)
    assert sent >= 20
