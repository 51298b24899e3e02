"""SIGTERM and SIGINT call the function while the context is open; they cancel work; a refused start exits with 1."""

import asyncio
import os
import signal

import pytest

from capsules.errors import ConstitutionRefused
from somagent.stop_signals import exit_when_refused, on_stop_signal, run_until_stop_signal


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_calls_the_function_until_the_context_is_closed(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    called = asyncio.Event()
    with on_stop_signal(called.set):
        os.kill(os.getpid(), number)
        await asyncio.wait_for(called.wait(), 5)
    assert signal.getsignal(number) in {before, signal.SIG_DFL, signal.default_int_handler}


async def test_a_signal_cancels_the_work_and_the_process_goes_on_to_its_end() -> None:
    asyncio.get_running_loop().call_later(0.05, os.kill, os.getpid(), signal.SIGTERM)
    await asyncio.wait_for(run_until_stop_signal(asyncio.sleep(60)), 5)


def test_a_refused_start_is_logged_with_its_reason_and_exits_with_1(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended, exit_when_refused("worker"):
        raise ConstitutionRefused("No constitution is active.")
    assert ended.value.code == 1
    logged = capsys.readouterr().out
    assert "worker.refused_to_start" in logged
    assert "No constitution is active." in logged
