"""Process of the supervisor: it takes the lock, ends the parts that a killed one left, and runs until a signal."""

import argparse
import asyncio
import os
import sys
from collections.abc import Callable, Sequence

from somagent.identity.ui_secret import forget_secret
from somagent.local_stack.control import end_leftovers
from somagent.local_stack.errors import StackError
from somagent.local_stack.part import Part
from somagent.local_stack.ports import require_free
from somagent.local_stack.stack import parts
from somagent.local_stack.state import (
    PartState,
    ProcessId,
    StackPhase,
    StackState,
    sole_supervisor,
    state_file,
    write_state,
)
from somagent.local_stack.supervisor import Supervisor
from somagent.settings import Settings
from somagent.stop_signals import on_stop_signal


async def supervise(
    settings: Settings, chosen: Sequence[Part], *, on_change: Callable[[StackState], None] = lambda _: None
) -> None:
    """Run the parts until SIGTERM or SIGINT. Every change is written to the state file and passed to `on_change`.

    Raises StackBusy, PortTaken, or PartFailed when a part does not start.
    """
    home = settings.home.absolute()
    with sole_supervisor(home):
        await asyncio.to_thread(end_leftovers, home)
        published = PublishedState(settings, on_change)
        supervisor = Supervisor(chosen, home=home, on_change=published.parts)
        published.parts(supervisor.states)
        try:
            require_free(chosen, settings.host)
            await _run_until_signal(supervisor, published)
        except StackError as error:
            published.phase("failed", str(error))
            raise
        finally:
            forget_secret(home)
        state_file(home).unlink(missing_ok=True)


class PublishedState:
    """The state file of the stack. Every change is written at once."""

    def __init__(self, settings: Settings, on_change: Callable[[StackState], None]) -> None:
        me = ProcessId.of(os.getpid())
        assert me is not None, "a process can see itself"
        self._home = settings.home.absolute()
        self._state = StackState(phase="starting", supervisor=me, parts=())
        self._on_change = on_change

    def parts(self, states: tuple[PartState, ...]) -> None:
        """Publish the states of the parts."""
        self._write(self._state.model_copy(update={"parts": states}))

    def phase(self, phase: StackPhase, message: str = "") -> None:
        """Publish the phase of the stack."""
        self._write(self._state.model_copy(update={"phase": phase, "message": message}))

    def _write(self, state: StackState) -> None:
        self._state = state
        write_state(self._home, state)
        self._on_change(state)


class Journal:
    """Log of the supervisor: a line for each change of a part."""

    def __init__(self) -> None:
        self._last: dict[str, PartState] = {}

    def write(self, state: StackState) -> None:
        """Write one line for each part that changed."""
        for part in state.parts:
            if self._last.get(part.name) != part and part.since:
                sys.stderr.write(f"{part.since:%Y-%m-%dT%H:%M:%S.%fZ} {part.name} {part.phase} {part.message}\n")
            self._last[part.name] = part


async def _run_until_signal(supervisor: Supervisor, published: PublishedState) -> None:
    stop = asyncio.Event()
    with on_stop_signal(stop.set):
        work = asyncio.create_task(_run(supervisor, published))
        stopped = asyncio.create_task(stop.wait())
        await asyncio.wait((work, stopped), return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if stop.is_set():
            published.phase("stopping")
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
        await supervisor.stop()
        if not work.cancelled() and (error := work.exception()):
            raise error


async def _run(supervisor: Supervisor, published: PublishedState) -> None:
    await supervisor.start()
    published.phase("ready")
    await supervisor.watch()


def main() -> None:
    """Run as `python -m somagent.local_stack.supervisor_process [--only a,b]`."""
    parser = argparse.ArgumentParser(prog="somagent.local_stack.supervisor_process", description=__doc__)
    parser.add_argument("--only", default="")
    only = tuple(name for name in parser.parse_args().only.split(",") if name)
    settings = Settings()
    try:
        asyncio.run(supervise(settings, parts(settings, only=only), on_change=Journal().write))
    except StackError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
