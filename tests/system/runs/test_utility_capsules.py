"""A utility capsule goes from API through workflow, gate and sandbox to a deliverable, and everything is on record."""

from capsule_texts import utility
from platforms import Platform

from capsules.audit.receipt import Receipt, verify_chain

ADD = """
import json
given = json.load(open("input.json"))
print(json.dumps({"sum": given["a"] + given["b"]}))
"""


async def test_a_tool_runs_in_the_sandbox_and_its_answer_is_the_deliverable(platform: Platform) -> None:
    ref = await platform.publish(utility("adds", ADD))
    run = await platform.run(ref, {"a": 2, "b": 40})
    assert (run["status"], run["reason"], run["output"]) == ("completed", "", {"sum": 42})
    assert run["spent"]["tool_calls"] == 1


async def test_every_decision_and_outcome_is_chained(platform: Platform) -> None:
    ref = await platform.publish(utility("adds", ADD))
    run = await platform.run(ref, {"a": 1, "b": 1})
    receipts = [Receipt.model_validate(r) for r in await platform.receipts(run["id"])]
    assert verify_chain(receipts) is None
    kinds = [(r.kind, r.body.get("action", {}).get("kind")) for r in receipts if r.kind == "decision"]
    assert kinds == [("decision", "capsule.start"), ("decision", "tool.invoke"), ("decision", "artifact.publish")]


async def test_the_budget_that_was_not_spent_goes_back(platform: Platform) -> None:
    before = await platform.account()
    ref = await platform.publish(utility("adds", ADD))
    run = await platform.run(ref, {"a": 1, "b": 1})
    after = await platform.account()
    assert after["reserved"] == before["reserved"]
    assert after["spent"]["tool_calls"] == before["spent"]["tool_calls"] + run["spent"]["tool_calls"]


async def test_a_program_that_fails_fails_the_run_and_says_why(platform: Platform) -> None:
    ref = await platform.publish(utility("breaks", "raise SystemExit('no such colour: octarine')"))
    run = await platform.run(ref, {})
    assert run["status"] == "failed"
    assert "octarine" in run["reason"]


async def test_the_same_key_is_the_same_run(platform: Platform) -> None:
    ref = await platform.publish(utility("adds", ADD))
    first = await platform.start(ref, {"a": 1, "b": 2}, key="twice")
    again = await platform.start(ref, {"a": 1, "b": 2}, key="twice")
    assert first == again
    assert (await platform.until(first))["output"] == {"sum": 3}
