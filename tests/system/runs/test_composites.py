"""A composite runs its tasks as child runs: in parallel where it can, under its own budget, stopped together."""

import asyncio
import time

import pytest
from capsule_texts import composite, utility
from platforms import Platform
from sandboxes import running_containers

SLEEPS = "import time, json\ngiven = json.load(open('input.json'))\ntime.sleep(given['seconds'])\nprint(json.dumps({'value': given['seconds'] * 2}))"


async def publish_parts(platform: Platform, name: str, tasks: str, **extra: str) -> str:
    await platform.publish(utility("naps", SLEEPS))
    return await platform.publish(composite(name, tasks, **extra))


async def test_values_flow_between_tasks_and_budgets_come_back(platform: Platform) -> None:
    ref = await publish_parts(
        platform,
        "flows",
        """
        - {id: one, capsule: naps, with: {seconds: "${{ inputs.seconds }}"}}
        - {id: two, capsule: naps, needs: [one], with: {seconds: "${{ tasks.one.output.value }}"}}
        """,
        value='{last: "${{ tasks.two.output.value }}"}',
    )
    before = await platform.account()
    run = await platform.run(ref, {"seconds": 1})
    after = await platform.account()
    assert (run["status"], run["output"]) == ("completed", {"last": 4}), run["reason"]
    assert run["spent"]["tool_calls"] == 2
    assert after["reserved"] == before["reserved"]
    assert after["spent"]["tool_calls"] - before["spent"]["tool_calls"] == 2


async def test_a_failing_task_fails_the_project_unless_it_may(platform: Platform) -> None:
    await platform.publish(utility("falls", "raise SystemExit('ouch')"))
    strict = await publish_parts(platform, "strict", "- {id: one, capsule: falls}")
    lenient = await publish_parts(
        platform,
        "lenient",
        """
        - {id: one, capsule: falls, on_failure: continue}
        - {id: two, capsule: naps, needs: [one], when: "tasks.one.status == 'failed'", with: {seconds: 0}}
        """,
    )
    failed, completed = await asyncio.gather(platform.run(strict, {}), platform.run(lenient, {}))
    assert failed["status"] == "failed"
    assert "ouch" in failed["reason"]
    assert (completed["status"], completed["output"]) == ("completed", {"value": 0}), completed["reason"]


async def test_cancelling_reaches_the_childrens_containers(platform: Platform) -> None:
    ref = await publish_parts(
        platform,
        "stops",
        """
        - {id: one, capsule: naps, with: {seconds: 25}}
        - {id: two, capsule: naps, with: {seconds: 25}}
        """,
    )
    run = await platform.start(ref, {})
    children = [f"{run}/one", f"{run}/two"]
    deadline = time.monotonic() + 40
    while not all(running_containers(child) for child in children):
        assert time.monotonic() < deadline, "the children's containers did not appear"
        await asyncio.sleep(0.2)
    told = time.monotonic()
    assert (await platform.tell(run, "cancel")).status_code == 200
    shown = await platform.until(run, seconds=30)
    assert shown["status"] == "cancelled"
    assert not [c for child in children for c in running_containers(child)]
    assert time.monotonic() - told < 15
    assert [(await platform.show(child))["status"] for child in children] == ["cancelled", "cancelled"]


async def test_a_project_that_cannot_pay_its_tasks_is_not_published(platform: Platform) -> None:
    await platform.publish(utility("naps", SLEEPS))
    poor = composite("poor", "- {id: one, capsule: naps, with: {seconds: 0}}", budget="{tool_calls: 1, wall_clock: 2m}")
    answer = await platform.operator.post("/v1/capsules", content=poor, headers={"content-type": "application/yaml"})
    assert answer.status_code == 422
    assert "tool_calls" in answer.text


HALF_AND_HALF = """
- {id: one, capsule: naps, budget: {tool_calls: 1}, with: {seconds: 0}}
- {id: two, capsule: naps, needs: [one], budget: {tool_calls: 1}, with: {seconds: 0}}
"""


def two_calls(rule: str) -> str:
    return f"{{tool_calls: 2, wall_clock: 2m, on_pressure: [{rule}]}}"


async def test_what_tasks_spend_presses_the_project(platform: Platform) -> None:
    """Half is spent when the first task has ended: the second does not start before a person says so."""
    ref = await publish_parts(platform, "pressed", HALF_AND_HALF, budget=two_calls("{at: 50, do: ask}"))
    run = await platform.start(ref, {})
    shown = await platform.until(run, "awaiting_budget")
    assert (shown["status"], shown["reason"]) == ("awaiting_budget", "50 % of a limit is spent.")
    path = f"/v1/runs/{run.replace('/', '~')}/state"
    state = (await platform.operator.get(path)).json()
    assert (state["pressure"], state["spent"]["tool_calls"], state["left"]["tool_calls"]) == (50, 1, 1)
    assert (await platform.operator.get(f"/v1/runs/{run.replace('/', '~')}~two")).status_code == 404, "it has not begun"
    raised = await platform.approver.post(f"/v1/budgets/runs/{run.replace('/', '~')}/raise", json={"tool_calls": 4})
    assert raised.status_code == 200, raised.text
    assert (await platform.until(run))["status"] == "completed"


async def test_a_project_stops_where_its_capsule_says(platform: Platform) -> None:
    """A task that failed has spent, too."""
    await platform.publish(utility("falls", "raise SystemExit('ouch')"))
    tasks = """
    - {id: one, capsule: falls, budget: {tool_calls: 1}, on_failure: continue}
    - {id: two, capsule: naps, needs: [one], budget: {tool_calls: 1}, with: {seconds: 0}}
    """
    ref = await publish_parts(platform, "stopped", tasks, budget=two_calls("{at: 50, do: stop}"))
    shown = await platform.run(ref, {})
    assert (shown["status"], shown["spent"]["tool_calls"]) == ("failed", 1)
    assert "50 % of a limit is spent. The capsule says to stop there." in shown["reason"]


@pytest.mark.parametrize(
    ("tasks", "budget", "named"),
    [
        (HALF_AND_HALF, two_calls("{at: 50, do: shorter_outputs}"), "asks no model itself"),
        (HALF_AND_HALF, two_calls("{at: 50, do: cheaper_model, role: economy}"), "asks no model itself"),
        ("- {id: one, capsule: naps, budget: {tool_calls: 1, wall_clock: 9m}}", two_calls(""), "wall_clock"),
    ],
)
async def test_what_would_do_nothing_in_a_project_is_refused(
    platform: Platform, tasks: str, budget: str, named: str
) -> None:
    await platform.publish(utility("naps", SLEEPS))
    answer = await platform.operator.post(
        "/v1/capsules/validate",
        content=composite("nothing-done", tasks, budget=budget),
        headers={"content-type": "application/yaml"},
    )
    assert named in answer.text
    assert answer.json().get("valid") is not True
