"""Run state: platform activities for the run projection, the run's account and its deliverable."""

from typing import Any

from temporalio import activity

from capsules.actions.activity_context import current_context
from capsules.budgets.account import Account
from capsules.errors import AuthorityRefused, Invalid
from capsules.expressions import evaluate_condition
from capsules.json_schema import value_problems
from capsules.runs.lock import Lock, Locks, require_lock
from capsules.runs.run import CloseRun, CloseRunResult, Runs, RunUpdate, Verification, Verify

MAX_PROBLEMS = 10
"""In one answer about a value that does not follow its schema or conditions."""


class RunStateActivities:
    """Reads and writes of a run in SomaGent's database."""

    def __init__(self, runs: Runs, locks: Locks) -> None:
        self._runs = runs
        self._locks = locks

    @activity.defn(name="run.record")
    async def record(self, update: RunUpdate) -> None:
        """Update the run projection."""
        require_own(update.run, update.tenant)
        await self._runs.record(update)

    @activity.defn(name="run.close")
    async def close(self, closing: CloseRun) -> CloseRunResult:
        """Close the run and return the rest of its budget."""
        require_own(closing.run, closing.tenant)
        return await self._runs.close(closing)

    @activity.defn(name="budget.account")
    async def account(self) -> Account:
        """Return the run's account, its child runs included."""
        context = current_context()
        return await self._runs.account(context.key.run, context.tenant)

    @activity.defn(name="deliverable.verify")
    async def verify(self, request: Verify) -> Verification:
        """Check a deliverable against the schema and the acceptance expressions of the run's lock."""
        locked = (await own_lock(self._locks)).capsule.spec.deliverable
        problems = [str(problem) for problem in value_problems(locked.shape, request.output, most=MAX_PROBLEMS)]
        return Verification(problems=tuple(problems or _failed_conditions(locked.accept, request)[:MAX_PROBLEMS]))


def require_own(run: str, tenant: str) -> None:
    """Raise AuthorityRefused unless an argument names the run and tenant of the verified authority."""
    context = current_context()
    if (run, tenant) != (context.key.run, context.tenant):
        raise AuthorityRefused(f"The authority is for run {context.key.run!r}, not for {run!r} of tenant {tenant!r}.")


async def own_lock(locks: Locks) -> Lock:
    """Return the lock of the calling run, as its authority holds it. Raises AuthorityRefused when it has none."""
    context = current_context()
    authority = context.authority
    admitted = authority.kind == "run" and authority.run == context.key.run
    return require_lock(await locks.get(context.tenant, context.key.run, authority.lock if admitted else None))


def _failed_conditions(accept: tuple[str, ...], request: Verify) -> list[str]:
    variables: dict[str, Any] = {"output": request.output, "inputs": request.inputs}
    problems = []
    for condition in accept:
        try:
            if not evaluate_condition(condition, variables):
                problems.append(f"not accepted: {condition}")
        except Invalid as error:
            problems.append(error.message)
    return problems
