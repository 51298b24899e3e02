"""`kill -9` of every part in turn while many runs are under way: nothing is lost, and nothing happens twice.

No mocks: the parts are real servers, killed by the kernel, and the supervisor starts them again.
"""

import asyncio
from collections import defaultdict
from typing import Any

import pytest
from capsule_texts import thinker, utility
from chaos import Containers, all_ended, containers, kill, query_rows, unbalanced_accounts, wait_until_ready
from outages import with_model
from platforms import Platform
from servers import eventually

from capsules.audit.receipt import Receipt, verify_chain
from capsules.budgets.amounts import Amounts

IN_PAIRS = (("tools", "api"), ("worker", "valkey"), ("postgres", "temporal"))
ONE_BY_ONE = tuple((victim,) for pair in IN_PAIRS for victim in pair)

SLOW = """
import json, secrets, time
time.sleep(2.5)
print(json.dumps({"drawn": secrets.token_hex(16), "given": json.load(open("input.json"))["number"]}))
"""

COMPOSITE = """
apiVersion: somagent/v1
kind: Capsule
metadata: {name: pair, version: 1.0.0, summary: Two draws and one that needs them.}
spec:
  type: composite
  intent: Draw.
  inputs: {type: object}
  deliverable:
    schema: {type: object}
    value: {both: ["${{ tasks.one.output.drawn }}", "${{ tasks.two.output.drawn }}"]}
  tools: [{use: python@1, actions: [run]}]
  guardrails: {max_steps: 4}
  budget: {tool_calls: 10, wall_clock: 10m}
  tasks:
    - {id: one, capsule: draws@1, with: {number: 101}}
    - {id: two, capsule: draws@1, with: {number: 102}}
    - {id: three, capsule: draws@1, needs: [one, two], with: {number: 103}}
"""


@pytest.mark.parametrize(
    ("utilities", "thinkers", "rounds"),
    [(10, 2, IN_PAIRS), pytest.param(30, 8, (*ONE_BY_ONE, *IN_PAIRS), marks=pytest.mark.long)],
)
async def test_whatever_is_killed_every_run_completes_and_every_effect_happens_once(
    stack: Platform, utilities: int, thinkers: int, rounds: tuple[tuple[str, ...], ...]
) -> None:
    draws = await stack.publish(utility("draws", SLOW, budget="{tool_calls: 3, wall_clock: 10m}"))
    thinks = await stack.publish(thinker("one-word", wall_clock="10m"))
    pair = await stack.publish(COMPOSITE)
    before = await stack.account()
    async with with_model(stack.settings):
        with containers(stack.settings) as seen:
            many = f"chaos-{utilities}"
            starts = [
                *((draws, {"number": n}, f"{many}-{n}") for n in range(utilities)),
                *((thinks, {}, f"{many}-{n}") for n in range(thinkers)),
                (pair, {}, many),
            ]
            runs = list(await asyncio.gather(*(stack.start(ref, inputs, key=key) for ref, inputs, key in starts)))
            assert len(set(runs)) == utilities + thinkers + 1
            for victims in rounds:
                await _kill_in_the_middle(stack, victims, seen)
            ended = await all_ended(stack, runs, seconds=180)
            assert {id_: (run["status"], run["reason"]) for id_, run in ended.items()} == dict.fromkeys(
                runs, ("completed", "")
            )

            every = await _with_children(stack, runs)
            await _each_effect_happened_once(stack, every, seen.begun, tools=utilities + 3, thoughts=thinkers)
            await _budgets_balance(stack, before, ended)
            for run in every:
                await _is_on_record(stack, run)


async def _kill_in_the_middle(stack: Platform, victims: tuple[str, ...], seen: Containers) -> None:
    """Kill parts at once while tools are at work, and wait until they are back."""

    async def tools_at_work() -> None:
        assert await asyncio.to_thread(seen.running), f"nothing was left to disturb by killing {victims}"

    await eventually(tools_at_work, seconds=30)
    restarts = {victim: kill(stack.supervisor, victim) for victim in victims}
    await asyncio.gather(*(wait_until_ready(stack.supervisor, victim, count) for victim, count in restarts.items()))


async def _with_children(stack: Platform, runs: list[str]) -> list[str]:
    found = await query_rows(stack.settings, "SELECT id FROM runs WHERE id = ANY($1) OR parent = ANY($1)", runs)
    assert len(found) == len(runs) + 3
    return [row["id"] for row in found]


async def _each_effect_happened_once(
    stack: Platform, runs: list[str], begun: dict[str, int], *, tools: int, thoughts: int
) -> None:
    effects = await query_rows(stack.settings, "SELECT kind, state, attempt FROM effects WHERE run = ANY($1)", runs)
    assert {effect["state"] for effect in effects} == {"done"}
    attempts = [effect["attempt"] for effect in effects if effect["kind"] == "tool.invoke"]
    assert len(attempts) == tools
    assert max(attempts) > 1, "no tool was at work in the worker that was killed: this test disturbed nothing"
    assert sum(effect["kind"] == "slm.chat" for effect in effects) == thoughts
    # A container's name is its effect's key, hashed: as many names as effects, and no command began twice.
    assert sorted(begun.values()) == [1] * tools


async def _budgets_balance(stack: Platform, before: dict[str, Any], ended: dict[str, dict[str, Any]]) -> None:
    after = await stack.account()
    assert after["reserved"] == before["reserved"]
    spent = sum(
        (Amounts.model_validate(run["spent"]) for run in ended.values()), Amounts.model_validate(before["spent"])
    )
    assert after["spent"] == spent.model_dump()
    assert await unbalanced_accounts(stack.settings) == []


async def _is_on_record(stack: Platform, run: str) -> None:
    """The chain of the run is whole, and each of its effects has exactly one outcome that is ok."""
    receipts = [Receipt.model_validate(r) for r in await stack.receipts(run)]
    assert verify_chain(receipts) is None
    ok: dict[tuple[str, str], int] = defaultdict(int)
    allowed = set()
    for receipt in receipts:
        effect = (receipt.body.get("execution", ""), receipt.activity)
        if receipt.kind == "decision" and receipt.body["decision"] == "allow":
            allowed.add(effect)
        elif receipt.kind == "outcome" and receipt.activity != "run.close":
            ok[effect] += bool(receipt.body["ok"])
    assert ok == dict.fromkeys(allowed, 1)
