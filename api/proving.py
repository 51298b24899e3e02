"""Z3 at the API: in threads of its own, few at once, and refused with a clear problem when all are at work."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from time import perf_counter

from api.metrics import Metrics
from capsules.errors import Unavailable


@dataclass
class Desk:
    """So many pieces of work at once; who comes then waits `patience` seconds and is sent away."""

    what: str
    at_once: int
    patience: float
    metrics: Metrics
    _threads: ThreadPoolExecutor = field(init=False, repr=False)
    _free: asyncio.Semaphore = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._threads = ThreadPoolExecutor(self.at_once, thread_name_prefix=self.what)
        self._free = asyncio.Semaphore(self.at_once)

    async def work[R](self, piece: Callable[[], R]) -> R:
        """Return what the piece of work gives. Raises Unavailable when nobody is free in time."""
        try:
            await asyncio.wait_for(self._free.acquire(), self.patience)
        except TimeoutError as error:
            self.metrics.work_refused.labels(self.what).inc()
            raise Unavailable(
                f"{self.at_once} {self.what} are under way, which is all that this process does at once; "
                "try again in a few seconds.",
                retry_after=5,
            ) from error
        working = asyncio.get_running_loop().run_in_executor(self._threads, piece)
        began = perf_counter()
        # The place is free when the thread is, not when the caller has gone.
        working.add_done_callback(lambda _: self._done(began))
        return await asyncio.shield(working)

    def _done(self, began: float) -> None:
        self._free.release()
        self.metrics.work.labels(self.what).inc()
        self.metrics.work_seconds.labels(self.what).inc(perf_counter() - began)
