"""A run killed between an effect and its settling: what is held counts, once, and everything else comes back."""

import asyncio

from capsule_texts import utility
from platforms import Platform
from sandboxes import running_containers
from servers import eventually
from temporalio.client import Client

SLEEPS = "import time; time.sleep(3); print('{}')"


async def test_a_run_terminated_between_effect_and_settle_counts_it_once(stack: Platform, temporal: Client) -> None:
    before = await stack.account()
    run = await stack.start(await stack.publish(utility("killed-between", SLEEPS)), {})

    async def has_begun() -> None:
        assert running_containers(run)

    await eventually(has_begun, seconds=60)
    await temporal.get_workflow_handle(run).terminate("by an operator")
    ended = await stack.until(run, seconds=60)
    assert (ended["status"], ended["reason"]) == ("failed", "The workflow was terminated in Temporal.")
    assert ended["spent"]["tool_calls"] == 1, "it may have happened, so it counts"

    async def has_ended() -> None:
        assert not running_containers(run)

    await eventually(has_ended, seconds=60)
    await asyncio.sleep(1)  # its activity has nobody to report to
    account, after = await stack.account(run), await stack.account()
    assert (account["spent"]["tool_calls"], account["reserved"]["tool_calls"]) == (1, 0)
    assert after["spent"]["tool_calls"] - before["spent"]["tool_calls"] == 1
    assert after["reserved"] == before["reserved"]
    last = (await stack.receipts(run))[-1]
    assert (last["activity"], last["body"]["spent"]) == ("run.close", ended["spent"])
    checked = await stack.cli("budget", "check")
    assert checked.code == 0, checked
    assert (await stack.cli("audit", "verify", run)).code == 0
