"""Continuing as new loses no message that was accepted."""

import asyncio

from capsule_texts import many_steps
from platforms import Platform
from temporalio.client import Client


async def test_messages_survive_continuing_as_new(stack: Platform, temporal: Client) -> None:
    """Send messages for as long as a run that continues as new again and again takes them."""
    steps: list[dict[str, object]] = [
        {"id": f"tool_{n}", "use": "python/run", "with": {"code": f"print({n})"}} for n in range(40)
    ]
    ref = await stack.publish(many_steps("continues", steps))
    run = await stack.start(ref, {})
    sent = 0
    while (await stack.show(run))["status"] in {"starting", "running"}:
        answers = await asyncio.gather(
            *(stack.tell(run, "messages", {"id": f"m{sent + n}", "text": "Go on."}) for n in range(5))
        )
        await asyncio.sleep(0.3)  # an operator may send 1,200 requests in a minute
        # The last ones can meet a run that has just ended; everything that was accepted counts.
        sent += sum(answer.status_code == 202 for answer in answers)
    shown = await stack.show(run)
    assert (shown["status"], shown["output"]) == ("completed", 39), shown["reason"]
    description = await temporal.get_workflow_handle(run).describe()
    assert description.run_id != description.raw_description.workflow_execution_info.first_run_id
    state = await stack.operator.get(f"/v1/runs/{run.replace('/', '~')}/state")
    assert state.json()["messages"] == min(sent, 500)
    assert sent >= 20
