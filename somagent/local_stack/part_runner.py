"""Runner of one part: it starts, checks and stops the part, and restarts it with growing pauses when it dies."""

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from somagent.local_stack.errors import NotReady, PartFailed, StackError
from somagent.local_stack.part import Part
from somagent.local_stack.process import Child, launch
from somagent.local_stack.state import PartPhase, PartState, ProcessId

FIRST_TRIES = 3  # after a crash of the machine, files or ports of the last server may block for a moment
FIRST_PAUSE_SECONDS = 0.2
MAX_PAUSE_SECONDS = 10.0
SETTLED_SECONDS = 30.0  # after this life the pause starts from the first one again
HEALTH_EVERY_SECONDS = 0.05
HEALTH_SHARE = 0.05  # of the time waited so far: parts that are slow to start are asked less often, and start sooner
HEALTH_PATIENCE_SECONDS = 5.0


class Runner:
    """Keeps one part running."""

    def __init__(self, part: Part, *, home: Path, log: Path, on_change: Callable[[], None]) -> None:
        self.part = part
        self.state = PartState(name=part.name, address=part.address, log=log)
        self._home = home
        self._on_change = on_change
        self._child: Child | None = None

    async def start(self) -> None:
        """Return once the part works. Raises PartFailed when it does not after several tries."""
        for attempt in range(FIRST_TRIES):
            try:
                await self._attempt("starting")
            except PartFailed as failure:
                if self.part.once or attempt == FIRST_TRIES - 1:
                    self._set_phase("failed", failure.reason)
                    raise
                self._set_phase("starting", failure.reason)
                await asyncio.sleep(FIRST_PAUSE_SECONDS * 2**attempt)
            else:
                return

    async def keep_running(self) -> None:
        """Restart the part whenever it dies, for ever. Return at once for a part that runs once."""
        pause = FIRST_PAUSE_SECONDS
        while self._child is not None and not self.part.once:
            began = time.monotonic()
            code = await self._child.wait()
            pause = FIRST_PAUSE_SECONDS if time.monotonic() - began > SETTLED_SECONDS else pause
            self._set_phase("restarting", f"ended with {_format_exit(code)}", restarts=self.state.restarts + 1)
            await asyncio.sleep(pause)
            pause = min(pause * 2, MAX_PAUSE_SECONDS)
            try:
                await self._attempt("restarting")
            except StackError as failure:
                self._set_phase("restarting", failure.reason if isinstance(failure, PartFailed) else str(failure))

    async def stop(self) -> None:
        """Stop the part. Return once its process and all that it started have ended."""
        if self._child is not None:
            await self._child.stop()
            self._child = None
        if self.state.phase not in {"failed", "done"}:
            self._set_phase("stopped")

    async def check(self) -> None:
        """Raise NotReady when the part runs but does not answer."""
        if self.part.health and self._child:
            await self.part.health(self._child.launched)

    async def _attempt(self, phase: PartPhase) -> None:
        self._set_phase(phase, self.state.message)
        if self.part.data:
            self.part.data.mkdir(parents=True, exist_ok=True)
        if self.part.prepare:
            await self.part.prepare()
        self._child = await launch(self.part, home=self._home, log=self.state.log)
        self._set_phase(phase, self.state.message, process=ProcessId.of(self._child.launched.pid))
        if self.part.once:
            await self._wait_for_exit(self._child)
            return
        try:
            await self._wait_until_healthy(self._child)
            await self._provision()
        except PartFailed:
            await self._child.stop()
            raise
        self._set_phase("ready")

    async def _provision(self) -> None:
        try:
            if self.part.provision:
                await self.part.provision()
        except NotReady as reason:
            raise self._failure(f"could not be set up: {reason}") from reason

    async def _wait_for_exit(self, child: Child) -> None:
        try:
            async with asyncio.timeout(self.part.start_seconds):
                code = await child.wait()
        except TimeoutError:
            await child.stop()
            raise self._failure(f"did not finish in {self.part.start_seconds:g} s") from None
        if code != 0:
            raise self._failure(f"ended with {_format_exit(code)}")
        self._child = None
        self._set_phase("done")

    async def _wait_until_healthy(self, child: Child) -> None:
        seen = "nothing seen yet"
        began = time.monotonic()
        while self.part.health:
            if child.exit_code is not None:
                raise self._failure(f"ended with {_format_exit(child.exit_code)} before it answered")
            try:
                async with asyncio.timeout(HEALTH_PATIENCE_SECONDS):
                    await self.part.health(child.launched)
            except NotReady as reason:
                seen = str(reason)
            except TimeoutError:
                seen = f"no answer in {HEALTH_PATIENCE_SECONDS:g} s"
            else:
                return
            waited = time.monotonic() - began
            if waited > self.part.start_seconds:
                raise self._failure(f"did not answer in {self.part.start_seconds:g} s: {seen}")
            await asyncio.sleep(max(HEALTH_EVERY_SECONDS, waited * HEALTH_SHARE))

    def _failure(self, reason: str) -> PartFailed:
        return PartFailed(self.part.name, reason, self.state.log)

    def _set_phase(self, phase: PartPhase, message: str = "", **changes: object) -> None:
        update = {"phase": phase, "message": message, "since": datetime.now(UTC), **changes}
        self.state = self.state.model_copy(update=update)
        self._on_change()


def _format_exit(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"
