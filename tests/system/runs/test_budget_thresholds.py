"""Budget pressure on a running stack: what a capsule wants done at 50, 80 and 100 per cent is done. Real effects."""

import json

import pytest
from platforms import Platform

TWICE = """
    - {id: one, use: python/run, with: {code: "print(1)"}}
    - {id: two, use: python/run, with: {code: "print(2)"}}
"""
THEN_THINKS = """
    - {id: one, use: python/run, with: {code: "print(1)"}}
    - {id: two, think: "Say one word.", schema: {type: string, maxLength: 20}}
"""


def capsule(name: str, *rules: str, steps: str = TWICE) -> str:
    """Two steps, of which the first uses half of the tool calls."""
    return f"""apiVersion: somagent/v1
kind: Capsule
metadata: {{name: {name}, version: 1.0.0, summary: A test's capsule.}}
spec:
  type: atomic
  intent: Print, then go on.
  deliverable: {{schema: {{}}}}
  persona: analyst@1
  model: {{role: dialogue, max_output_tokens: 80}}
  tools: [{{use: python@1, actions: [run]}}]
  guardrails: {{max_steps: 4}}
  budget: {{tokens: 6000, tool_calls: 2, wall_clock: 2m, on_pressure: [{", ".join(rules)}]}}
  steps:{steps}"""


async def action_kinds(platform: Platform, run: str) -> list[str]:
    return [r["body"]["action"]["kind"] for r in await platform.receipts(run) if r["kind"] == "decision"]


async def raise_budget(platform: Platform, run: str) -> None:
    path = f"/v1/budgets/runs/{run.replace('/', '~')}/raise"
    answer = await platform.approver.post(path, json={"tool_calls": 4})
    assert answer.status_code == 200, answer.text


async def test_a_pause_ends_with_a_raise_and_the_run_goes_on_at_its_step(platform: Platform) -> None:
    run = await platform.start(await platform.publish(capsule("pressed-pause", "{at: 50, do: pause}")), {})
    shown = await platform.until(run, "paused")
    assert (shown["status"], shown["reason"]) == (
        "paused",
        "50 % of a limit is spent. A raise, or a resume, lets it go on.",
    )
    state = (await platform.operator.get(f"/v1/runs/{run.replace('/', '~')}/state")).json()
    assert (state["pressure"], state["left"]["tool_calls"]) == (50, 1)
    await raise_budget(platform, run)
    assert (await platform.until(run))["status"] == "completed"
    assert (await action_kinds(platform, run)).count("tool.invoke") == 2, "nothing is done twice"
    events = [json.loads(line) for line in (await platform.cli("runs", "events", run, "--json")).out.splitlines()]
    [told] = [event["data"] for event in events if event["type"] == "budget.pressure"]
    assert (told["dimension"], told["percent"], told["spent"], told["limit"]) == ("tool_calls", 50, 1, 2)


async def test_a_resume_ends_the_pause_without_a_raise(platform: Platform) -> None:
    run = await platform.start(await platform.publish(capsule("pressed-resume", "{at: 50, do: pause}")), {})
    await platform.until(run, "paused")
    await platform.tell(run, "resume")
    assert (await platform.until(run))["status"] == "completed"


async def test_asking_waits_for_a_raise_before_the_budget_is_gone(platform: Platform) -> None:
    run = await platform.start(await platform.publish(capsule("pressed-ask", "{at: 50, do: ask}")), {})
    shown = await platform.until(run, "awaiting_budget")
    assert (shown["status"], shown["reason"]) == ("awaiting_budget", "50 % of a limit is spent.")
    await raise_budget(platform, run)
    assert (await platform.until(run))["status"] == "completed"


async def test_a_stop_ends_the_run_and_says_so(platform: Platform) -> None:
    run = await platform.start(await platform.publish(capsule("pressed-stop", "{at: 50, do: stop}")), {})
    shown = await platform.until(run)
    assert (shown["status"], shown["spent"]["tool_calls"]) == ("failed", 1)
    assert "50 % of a limit is spent. The capsule says to stop there." in shown["reason"]


@pytest.mark.parametrize(
    ("rules", "named"),
    [
        ("{at: 60, do: stop}", "on_pressure"),
        ("{at: 50, do: dance}", "on_pressure"),
        ("{at: 50, do: cheaper_model}", "role"),
        ("{at: 50, do: stop, role: economy}", "role"),
    ],
)
async def test_a_rule_that_means_nothing_is_refused(platform: Platform, rules: str, named: str) -> None:
    answer = await platform.operator.post(
        "/v1/capsules/validate", content=capsule("pressed-wrong", rules), headers={"content-type": "application/yaml"}
    )
    assert named in json.dumps(answer.json()), answer.text
    assert answer.json().get("valid") is not True


async def test_outputs_get_shorter_and_the_model_cheaper(platform: Platform) -> None:
    """The second step is a thought: it is asked of the other role, with a quarter of the cap, at that role's price."""
    chats = {}
    rules = (
        "{at: 50, do: shorter_outputs}",
        "{at: 50, do: shorter_outputs}",
        "{at: 50, do: cheaper_model, role: economy}",
    )
    for name, chosen in (("pressed-never", ()), ("pressed-cheaper", rules)):
        run = await platform.start(await platform.publish(capsule(name, *chosen, steps=THEN_THINKS)), {})
        assert (await platform.until(run))["status"] == "completed"
        decisions = [r["body"]["action"] for r in await platform.receipts(run) if r["kind"] == "decision"]
        chats[name] = next(action for action in decisions if action["kind"] == "slm.chat")
    usual, pressed = chats["pressed-never"], chats["pressed-cheaper"]
    assert (usual["target"], pressed["target"]) == ("dialogue", "economy")
    assert usual["cost"]["tokens"] - pressed["cost"]["tokens"] == 80 - 20
