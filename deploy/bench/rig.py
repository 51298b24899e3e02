"""Rig of the governed benchmarks: the product's own assembly, workers, and runs with a budget."""

import time
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from temporalio.worker import Interceptor, Worker

from activities.registry import GOVERNED
from capsules.budgets.amounts import Amounts
from capsules.digest import Digest, digest
from capsules.identity.authority import Authority
from capsules.runs.lock import Lock
from capsules.runs.run import NewRun
from somagent.capsule_files.document import load
from somagent.db.transaction import Transaction
from somagent.identity.keys import KeyRing
from somagent.identity.tokens import Tokens
from somagent.local_stack.bootstrap import TENANT
from somagent.settings import Settings
from workers.assembly import Assembly, assemble
from workflows.authority_interceptor import AuthorityInterceptor

CAPSULE = "benchmark@1.0.0"
_CAPSULE = load("""
apiVersion: somagent/v1
kind: Capsule
metadata: {name: benchmark, version: 1.0.0, summary: Measures the gate.}
spec:
  type: atomic
  intent: Be measured.
  deliverable: {schema: {}}
  model: {role: dialogue}
  guardrails: {max_steps: 1}
  budget: {tokens: 1}
""")
LOCK = Lock(capsule=_CAPSULE, capsule_digest=_CAPSULE.digest(), constitution=digest({}))
"""What the benchmarks' runs may use: the model of the role `dialogue`."""


@dataclass(frozen=True)
class Run:
    """An admitted run: its id and its authority token."""

    id: str
    authority: str


@dataclass
class Rig:
    """The assembled adapters and workers of this process."""

    assembly: Assembly
    tokens: Tokens
    constitution: Digest
    stack: AsyncExitStack

    async def new_runs(self, count: int, limit: Amounts) -> list[Run]:
        """Add runs with an account each, as an admission does. This is not measured."""
        return [await self._new_run(limit) for _ in range(count)]

    async def work(self, queue: str, *, activities: Sequence[Any], workflow: type, governed: bool) -> None:
        """Serve a queue until the rig closes, with the product's interceptors if `governed`, else with none."""
        interceptors: list[Interceptor] = [self.assembly.interceptor, AuthorityInterceptor()] if governed else []
        worker = Worker(
            self.assembly.client,
            task_queue=queue,
            activities=activities,
            workflows=[workflow],
            interceptors=interceptors,
            max_concurrent_activities=20,
            max_heartbeat_throttle_interval=timedelta(seconds=1),
            default_heartbeat_throttle_interval=timedelta(seconds=1),
        )
        await self.stack.enter_async_context(worker)

    async def _new_run(self, limit: Amounts) -> Run:
        async with self.assembly.db.transaction(TENANT) as tx:
            run = await enter_run(tx, TENANT)
            account = f"run:{run}"
            await tx.accounts.carve(f"tenant:{TENANT}", account, limit)
            lock = LOCK.model_dump(mode="json")
            await tx.runs.admit(run, digest=LOCK.capsule_digest, parent=None, account=account, lock=lock)
        authority = Authority(
            kind="run",
            tenant=TENANT,
            actor="operator",
            run=run,
            account=account,
            kinds=frozenset(name for name, _ in GOVERNED),
            constitution=self.constitution,
            lock=LOCK.digest(),
            expires_at=int(time.time()) + 3600,
        )
        return Run(run, self.tokens.mint_authority(authority))


async def enter_run(tx: Transaction, tenant: str) -> str:
    """Add a run of the benchmark's capsule, and return its id."""
    run = f"{tenant}/benchmark/{uuid.uuid4().hex}"
    await tx.runs.accept(NewRun(id=run, capsule=CAPSULE, digest=digest({}), actor="operator", request=digest(run)))
    return run


@asynccontextmanager
async def rig(settings: Settings) -> AsyncIterator[Rig]:
    """Open a rig with the same adapters as a worker process."""
    async with assemble(settings) as assembly, AsyncExitStack() as stack:
        active = await assembly.db.constitutions.active()
        yield Rig(assembly, Tokens(KeyRing.load(settings.keys_dir)), active.digest, stack)
