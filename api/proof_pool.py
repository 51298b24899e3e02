"""Proof pool: runs the Z3 work of the API, proofs and explanations, in a few threads of its own."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

from api.middleware.metrics import Metrics
from capsules.actions.action import Action, Facts
from capsules.constitutions.proof import Explanation
from capsules.digest import Digest
from capsules.errors import Unavailable
from policy.decide.engine import Policy
from policy.prove.explanations import explain
from policy.prove.review import load_candidate
from policy.prove.solver import Solver

CACHED_SOLVERS = 16


@dataclass
class ProofPool:
    """A pool of `at_once` threads. A caller waits up to `patience` seconds for a free one and is then refused."""

    what: str
    at_once: int
    patience: float
    metrics: Metrics
    _threads: ThreadPoolExecutor = field(init=False, repr=False)
    _free: asyncio.Semaphore = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._threads = ThreadPoolExecutor(self.at_once, thread_name_prefix=self.what)
        self._free = asyncio.Semaphore(self.at_once)

    async def work[R](self, function: Callable[[], R]) -> R:
        """Return the result of the function. Raises Unavailable when no thread is free in time."""
        try:
            await asyncio.wait_for(self._free.acquire(), self.patience)
        except TimeoutError as error:
            self.metrics.work_refused.labels(self.what).inc()
            raise Unavailable(
                f"{self.at_once} {self.what} are under way, the maximum of this process. Try again in a few seconds.",
                retry_after=5,
            ) from error
        result = asyncio.get_running_loop().run_in_executor(self._threads, function)
        began = perf_counter()
        # The thread stays busy when the caller has gone, so the end of the work releases it.
        result.add_done_callback(lambda _: self._done(began))
        return await asyncio.shield(result)

    def _done(self, began: float) -> None:
        self._free.release()
        self.metrics.work.labels(self.what).inc()
        self.metrics.work_seconds.labels(self.what).inc(perf_counter() - began)


@dataclass
class ExplanationPool:
    """Explanations in the one thread of a pool: about 20 milliseconds each, at most half a second for each question."""

    pool: ProofPool
    _solvers: OrderedDict[Digest, Solver] = field(default_factory=OrderedDict)

    async def of(self, policy: Policy, action: Action, facts: Facts) -> Explanation:
        """Explain the decision about an action."""
        return await self.pool.work(lambda: explain(self._solver(policy), action, facts))

    async def of_document(self, document: dict[str, Any], action: Action, facts: Facts) -> Explanation:
        """Explain the decision of a document about an action. Raises ConstitutionRefused when it does not load."""
        return await self.pool.work(lambda: explain(Solver(load_candidate(document).policy), action, facts))

    def _solver(self, policy: Policy) -> Solver:
        """Return the cached solver of a policy, or a new one. Only the pool's one thread calls this."""
        solver = self._solvers.pop(policy.digest, None) or Solver(policy)
        self._solvers[policy.digest] = solver
        while len(self._solvers) > CACHED_SOLVERS:
            self._solvers.popitem(last=False)
        return solver
