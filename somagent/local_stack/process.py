"""Child process of a part: it cannot outlive the supervisor, and it stops within a deadline."""

import asyncio
import contextlib
import os
import shutil
from datetime import UTC, datetime
from pathlib import Path
from signal import SIGKILL, Signals

from somagent.local_stack.errors import MissingProgram
from somagent.local_stack.part import Launched, Part


class Child:
    """A started part. Its process leads its own group, so that what it starts is stopped with it."""

    def __init__(self, process: asyncio.subprocess.Process, part: Part) -> None:
        self._process = process
        self._part = part
        self.launched = Launched(pid=process.pid, since=datetime.now(UTC))

    @property
    def exit_code(self) -> int | None:
        """Return how it ended, or None while it runs."""
        return self._process.returncode

    async def wait(self) -> int:
        """Return its exit code, once nothing of its group is left."""
        code = await self._process.wait()
        signal_group(self._process.pid, SIGKILL)
        return code

    async def stop(self) -> None:
        """Ask it to end, and end it when it does not within its deadline."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(self._part.stop_signal)
        try:
            async with asyncio.timeout(self._part.stop_seconds):
                await self._process.wait()
        except TimeoutError:
            signal_group(self._process.pid, SIGKILL)
        await self.wait()


async def launch(part: Part, *, home: Path, log: Path) -> Child:
    """Start a part in the background, its output appended to its log."""
    with log.open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            *guard_command(part),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=dict(part.env),
            cwd=home,
            start_new_session=True,
        )
    return Child(process, part)


def guard_command(part: Part) -> tuple[str, ...]:
    """Return the command through `setpriv`, which makes the kernel stop it when the supervisor dies, however it dies.

    The signal is asked for after the change of user, which would clear it.
    """
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise MissingProgram(
            "`setpriv` (package util-linux) is not installed; the stack needs it to tie its parts together."
        )
    become = part.identity.options() if part.identity else ()
    return (setpriv, f"--pdeathsig={_short(part.stop_signal)}", *become, "--", *part.command)


def _short(signal: Signals) -> str:
    return signal.name.removeprefix("SIG")


def signal_group(group: int, signal: Signals) -> None:
    """Send a signal to a part's process and to what it started: each part leads a process group of its own."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal)
