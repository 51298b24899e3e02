"""An autonomous persona is held by its schema, its steps and its progress; a run that gets nowhere says why."""

from capsule_texts import autonomous
from platforms import Platform


async def test_a_loop_ends_with_a_deliverable_or_a_clear_reason(platform: Platform) -> None:
    run = await platform.run(await platform.publish(autonomous("labels")), {}, seconds=200)
    if run["status"] == "completed":
        assert run["output"]["label"] in {"greeting", "question"}
    else:
        assert any(words in run["reason"] for words in ("gets nowhere", "steps without", "broke its schema")), run[
            "reason"
        ]


async def test_a_deliverable_that_is_never_accepted_ends_the_loop(platform: Platform) -> None:
    run = await platform.run(
        await platform.publish(autonomous("never", accept="output.label == 'farewell'")), {}, seconds=200
    )
    assert run["status"] == "failed"
    assert any(words in run["reason"] for words in ("gets nowhere", "steps without", "broke its schema")), run["reason"]
    thoughts = [r for r in await platform.receipts(run["id"]) if r["body"].get("action", {}).get("kind") == "slm.chat"]
    assert len(thoughts) <= 2 * 5


async def test_max_steps_is_a_hard_end(platform: Platform) -> None:
    ref = await platform.publish(autonomous("short", accept="output.label == 'farewell'", max_steps=1))
    run = await platform.run(ref, {}, seconds=200)
    assert run["status"] == "failed"
    assert "1 steps" in run["reason"] or "broke its schema" in run["reason"], run["reason"]
