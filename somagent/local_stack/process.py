"""Child process of a part: it ends with the supervisor, and it stops within a deadline."""

import asyncio
import contextlib
import os
import shutil
from datetime import UTC, datetime
from pathlib import Path
from signal import SIGKILL, Signals

from somagent.local_stack.errors import MissingProgram
from somagent.local_stack.part import Part, StartedProcess


class Child:
    """A started part. Its process leads a process group, so that what it starts is stopped with it."""

    def __init__(self, process: asyncio.subprocess.Process, part: Part) -> None:
        self._process = process
        self._part = part
        self.launched = StartedProcess(pid=process.pid, since=datetime.now(UTC))

    @property
    def exit_code(self) -> int | None:
        """The exit code, or None while it runs."""
        return self._process.returncode

    async def wait(self) -> int:
        """Return the exit code, once all processes of its group have ended."""
        code = await self._process.wait()
        signal_group(self._process.pid, SIGKILL)
        return code

    async def stop(self) -> None:
        """Send the part's stop signal, and kill its group after the part's deadline."""
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
    """Return the part's command, run by `setpriv`: the kernel then signals the process when the supervisor dies.

    Raises MissingProgram when `setpriv` is not installed.
    """
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise MissingProgram(
            "`setpriv` (package util-linux) is not installed; the stack needs it to tie its parts together."
        )
    become = part.identity.options() if part.identity else ()
    death_signal = part.stop_signal.name.removeprefix("SIG")
    return (setpriv, f"--pdeathsig={death_signal}", *become, "--", *part.command)


def signal_group(group: int, signal: Signals) -> None:
    """Send a signal to a part's process and to what it started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal)
