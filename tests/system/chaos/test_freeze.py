"""A worker that falls silent and comes back: its attempt is over, and the one that follows picks up what it began.

No mocks: the process is stopped by the kernel for longer than Temporal waits for a heartbeat.
"""

import asyncio
import signal

import psutil
import pytest
from capsule_texts import utility
from chaos import containers, query_rows, unbalanced_accounts
from platforms import Platform
from servers import eventually

SILENT_SECONDS = 17  # heartbeats are missed after 15
NAP = "import time; time.sleep(24); print('{}')"


@pytest.mark.long  # in every run: the killed worker of test_kill.py, and the killed client of test_sandbox_once.py
async def test_a_command_that_outlives_its_attempt_is_picked_up_and_not_begun_again(stack: Platform) -> None:
    ref = await stack.publish(utility("naps", NAP))
    with containers(stack.settings) as seen:
        run = await stack.start(ref, {})

        async def at_work() -> None:
            assert await asyncio.to_thread(seen.running)

        await eventually(at_work, seconds=30)
        state = stack.supervisor.runners["tools"].state
        assert state.process is not None
        worker = psutil.Process(state.process.pid)
        worker.send_signal(signal.SIGSTOP)
        await asyncio.sleep(SILENT_SECONDS)
        worker.send_signal(signal.SIGCONT)
        ended = await stack.until(run, seconds=60)
    assert (ended["status"], ended["reason"]) == ("completed", "")
    assert list(seen.begun.values()) == [1]
    (effect,) = await query_rows(
        stack.settings, "SELECT state, attempt FROM effects WHERE run = $1 AND kind = 'tool.invoke'", run
    )
    assert effect["state"] == "done"
    assert effect["attempt"] > 1, "the worker was not silent for long enough to lose its attempt"
    assert ended["spent"]["tool_calls"] == 1
    assert await unbalanced_accounts(stack.settings) == []
