"""Supervisor: it starts parts in the order of their dependencies, in parallel where possible, and restarts them."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self

from somagent.local_stack.logs import log_file, rotate
from somagent.local_stack.part import Part
from somagent.local_stack.part_runner import Runner
from somagent.local_stack.state import PartState


class Supervisor:
    """Runs the parts of one home. `async with` starts and stops them."""

    def __init__(
        self, parts: Sequence[Part], *, home: Path, on_change: Callable[[tuple[PartState, ...]], None] = lambda _: None
    ) -> None:
        self._home = home.absolute()
        self._on_change = on_change
        self.runners = {
            part.name: Runner(part, home=self._home, log=log_file(home, part.name), on_change=self._publish)
            for part in parts
        }
        self._ready = {name: asyncio.Event() for name in self.runners}
        self._gone = {name: asyncio.Event() for name in self.runners}
        self._keepers: list[asyncio.Task[None]] = []

    @property
    def states(self) -> tuple[PartState, ...]:
        """Return the state of each part, in the order of the parts."""
        return tuple(runner.state for runner in self.runners.values())

    async def start(self) -> None:
        """Return once every part is ready. If one does not start, stop the others and raise its PartFailed."""
        for name in self.runners:
            rotate(log_file(self._home, name))
        started = False
        try:
            async with asyncio.TaskGroup() as starting:
                for runner in self.runners.values():
                    starting.create_task(self._start(runner))
            started = True
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from None
        finally:
            if not started:
                await self.stop()
        self._keepers = [asyncio.create_task(runner.keep_running()) for runner in self.runners.values()]

    async def stop(self) -> None:
        """Return once every part has ended. A part ends before those that it depends on."""
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        self._keepers = []
        async with asyncio.TaskGroup() as stopping:
            for runner in self.runners.values():
                stopping.create_task(self._stop(runner))

    async def watch(self) -> None:
        """Wait for ever. Raises what the restart of a part could not handle."""
        await asyncio.gather(*self._keepers)
        await asyncio.Event().wait()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def _start(self, runner: Runner) -> None:
        for name in runner.part.depends_on:
            if name in self._ready:  # a part that a setting replaces is not among ours
                await self._ready[name].wait()
        await runner.start()
        self._ready[runner.part.name].set()

    async def _stop(self, runner: Runner) -> None:
        for other in self.runners.values():
            if runner.part.name in other.part.depends_on:
                await self._gone[other.part.name].wait()
        await runner.stop()
        self._gone[runner.part.name].set()

    def _publish(self) -> None:
        self._on_change(self.states)
