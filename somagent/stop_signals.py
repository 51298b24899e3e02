"""Stop signals: how the processes of the platform end, at SIGTERM and SIGINT or when they are refused a start."""

import asyncio
import signal
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import structlog

from capsules.errors import SomaError


@contextmanager
def on_stop_signal(stop: Callable[[], object]) -> Iterator[None]:
    """Call `stop` at each SIGTERM or SIGINT while the context is open, in the running event loop."""
    loop = asyncio.get_running_loop()
    numbers = (signal.SIGTERM, signal.SIGINT)
    for number in numbers:
        loop.add_signal_handler(number, stop)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


async def run_until_stop_signal(work: Coroutine[Any, Any, None]) -> None:
    """Run `work` to its end. A stop signal cancels it."""
    working = asyncio.create_task(work)
    with on_stop_signal(working.cancel), suppress(asyncio.CancelledError):
        await working


@contextmanager
def exit_when_refused(process: str) -> Iterator[None]:
    """Log a SomaError as `<process>.refused_to_start` and end the process with exit code 1."""
    try:
        yield
    except SomaError as error:
        event = f"{process}.refused_to_start"
        structlog.get_logger().exception(event, code=error.code, problem=error.message)
        raise SystemExit(1) from error
