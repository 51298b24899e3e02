"""Claims of starts: compares a start with its authority, Temporal and the ledger. Implements `StartClaims`.

A start authority stands in the payload of a workflow or a schedule, which others may copy. So it is bound to one way
of starting one run, and Temporal's server, not the workflow, says how a run was started.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from temporalio.client import Client

from capsules.actions.ledger_messages import AttemptKey
from capsules.errors import AuthorityRefused
from capsules.identity.authority import Authority
from capsules.runs.lock import Lock, require_lock
from capsules.runs.run import StartCapsule
from somagent.db.database import Database
from somagent.temporal.executions import Execution, describe

CLOCK_SKEW = timedelta(seconds=60)
"""How far apart our clock and that of Temporal may be."""


@dataclass(frozen=True)
class PostgresStartClaims:
    """Checks a start once for each attempt at admission."""

    db: Database
    client: Client
    queue: str
    """Task queue of the workflows that run capsules."""

    async def claim(self, request: StartCapsule, key: AttemptKey, authority: Authority, lock: Lock | None) -> str:
        """Claim a start for the execution that asks for it; return the id of the first execution of its chain.

        lock: of the parent, for a child run. Raises AuthorityRefused with the reason, and Unavailable.
        """
        execution = await describe(self.client, key.run, key.execution)
        if authority.kind == "run":
            nonce = _check_child(request, key, authority, require_lock(lock), execution, self.queue)
        else:
            nonce = await self._check_start(request, authority, execution)
        async with self.db.transaction(authority.tenant) as tx:
            refused = await tx.starts.claim(key.run, nonce, execution.first_run_id)
        if refused is not None:
            raise AuthorityRefused(f"Run {key.run!r} may not start: {refused}. Start a new run.")
        return execution.first_run_id

    async def _check_start(self, request: StartCapsule, authority: Authority, execution: Execution) -> str:
        authority.check_start(request.capsule, request.digest, request.inputs, request.budget)
        execution.require_started_as(authority.workflow_type, authority.queue)
        if request.parent is not None or execution.parent_workflow_id:
            raise AuthorityRefused("A start authority starts a run of its own; this one was started by a workflow.")
        if authority.schedule is not None:
            _check_time(authority, execution.workflow_id)
            await execution.require_schedule(self.client, authority.schedule)
        return authority.nonce


def _check_child(  # noqa: PLR0913, PLR0917 - what a start is compared with
    request: StartCapsule, key: AttemptKey, parent: Authority, lock: Lock, execution: Execution, queue: str
) -> str:
    """Compare the start of a child with the task in its parent's lock; return what takes the place of the nonce."""
    task = next((task for task in lock.capsule.spec.tasks if f"{parent.run}/{task.id}" == key.run), None)
    if task is None or execution.parent_workflow_id != parent.run or request.parent != parent.run:
        raise AuthorityRefused(f"Run {key.run!r} is not a task that {parent.run!r} started.")
    ref = lock.task_capsules[task.id]
    budget = task.budget.amounts() if task.budget else None
    if (request.capsule, request.digest, request.budget) != (ref, lock.children[ref], budget):
        raise AuthorityRefused(f"Task {task.id!r} of {parent.run!r} runs {ref} with its own budget, and nothing else.")
    execution.require_started_as("RunProject" if ref in lock.composites else "RunCapsule", queue)
    return f"{parent.run}#{parent.execution}"


def _check_time(authority: Authority, run: str) -> None:
    """Raise AuthorityRefused unless the time that Temporal put into the id is within the authority's window."""
    text = run.removeprefix(authority.run)
    try:
        time = datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except ValueError as error:
        raise AuthorityRefused(
            f"Run {run!r} is not a start of schedule {authority.schedule!r}: no time ends it."
        ) from error
    earliest = datetime.fromtimestamp(authority.not_before, UTC) - CLOCK_SKEW
    if not earliest <= time <= datetime.now(UTC) + CLOCK_SKEW or time.timestamp() >= authority.expires_at:
        raise AuthorityRefused(f"The authority does not cover a start at {text}; unpause the schedule to renew it.")
