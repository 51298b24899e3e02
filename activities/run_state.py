"""Run state: platform activities for the run projection, the run's account and its deliverable."""

from typing import Any

from temporalio import activity

from capsules.budgets.account import Account
from capsules.errors import Invalid
from capsules.expressions import evaluate_condition
from capsules.json_schema import value_problems
from capsules.runs.run import Closed, CloseRun, Runs, RunUpdate, Verification, Verify

MOST_PROBLEMS = 10


class RunStateActivities:
    """Reads and writes of a run in SomaGent's database."""

    def __init__(self, runs: Runs) -> None:
        self._runs = runs

    @activity.defn(name="run.record")
    async def record(self, update: RunUpdate) -> None:
        """Update the run projection."""
        await self._runs.record(update)

    @activity.defn(name="run.close")
    async def close(self, closing: CloseRun) -> Closed:
        """Close the run and return the rest of its budget."""
        return await self._runs.close(closing)

    @activity.defn(name="budget.account")
    async def account(self) -> Account:
        """Return the run's account, its child runs included."""
        run = activity.info().workflow_id
        assert run is not None
        return await self._runs.account(run, run.partition("/")[0])

    @activity.defn(name="deliverable.verify")
    async def verify(self, request: Verify) -> Verification:
        """Check a deliverable against its schema and acceptance expressions."""
        problems = [str(problem) for problem in value_problems(request.shape, request.output, most=MOST_PROBLEMS)]
        if not problems:
            problems = _failed_conditions(request)
        return Verification(problems=tuple(problems[:MOST_PROBLEMS]))


def _failed_conditions(request: Verify) -> list[str]:
    variables: dict[str, Any] = {"output": request.output, "inputs": request.inputs}
    problems = []
    for condition in request.accept:
        try:
            if not evaluate_condition(condition, variables):
                problems.append(f"not accepted: {condition}")
        except Invalid as error:
            problems.append(error.message)
    return problems
