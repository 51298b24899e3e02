"""SIGTERM and SIGINT call the function while the context is open, and no longer."""

import asyncio
import os
import signal

import pytest

from somagent.stop_signals import on_stop_signal


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_calls_the_function_until_the_context_is_closed(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    called = asyncio.Event()
    with on_stop_signal(called.set):
        os.kill(os.getpid(), number)
        await asyncio.wait_for(called.wait(), 5)
    assert signal.getsignal(number) in {before, signal.SIG_DFL, signal.default_int_handler}
