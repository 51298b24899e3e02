"""Platform activities: our own bookkeeping. They have no effect outside our database and stand on one explicit list."""

from typing import Any

from jsonschema import Draft202012Validator
from temporalio import activity

from capsules.approval import ApprovalDecision, BudgetRaised, DecisionMade, RaiseBudget
from capsules.errors import Invalid
from capsules.expressions import holds
from capsules.ports import Decisions, Runs
from capsules.run import Closed, CloseRun, RunUpdate, Verification, Verify


class Bookkeeping:
    """Projection of runs and people's decisions, with the store's adapters injected."""

    def __init__(self, runs: Runs, decisions: Decisions) -> None:
        self._runs = runs
        self._decisions = decisions

    @activity.defn(name="run.record")
    async def record(self, update: RunUpdate) -> None:
        """Bring the run's row up to the workflow's state."""
        await self._runs.record(update)

    @activity.defn(name="run.close")
    async def close(self, closing: CloseRun) -> Closed:
        """End the run and give back what it did not spend."""
        return await self._runs.close(closing)

    @activity.defn(name="approval.approve")
    async def approve(self, decision: ApprovalDecision) -> DecisionMade:
        """Record a yes, if its token says who may give it."""
        return await self._decisions.decide(*_where(), decision, approve=True)

    @activity.defn(name="approval.deny")
    async def deny(self, decision: ApprovalDecision) -> DecisionMade:
        """Record a no, if its token says who may give it."""
        return await self._decisions.decide(*_where(), decision, approve=False)

    @activity.defn(name="budget.raise")
    async def raise_budget(self, request: RaiseBudget) -> BudgetRaised:
        """Raise the run's limit, if the token says who may."""
        info = activity.info()
        key = f"{info.workflow_id}/{info.workflow_run_id}/{info.activity_id}"
        return await self._decisions.raise_budget(*_where(), request, key=key)

    @activity.defn(name="deliverable.verify")
    async def verify(self, request: Verify) -> Verification:
        """Check a deliverable against its schema and acceptance expressions."""
        problems = [
            f"{error.json_path}: {error.message}"[:300]
            for error in Draft202012Validator(request.shape).iter_errors(request.output)
        ]
        if not problems:
            problems = _unaccepted(request)
        return Verification(problems=tuple(problems[:10]))


def _unaccepted(request: Verify) -> list[str]:
    variables: dict[str, Any] = {"output": request.output, "inputs": request.inputs}
    problems = []
    for condition in request.accept:
        try:
            if not holds(condition, variables):
                problems.append(f"not accepted: {condition}")
        except Invalid as error:
            problems.append(error.message)
    return problems


def _where() -> tuple[str, str]:
    """Return run and tenant of the calling workflow: a decision can only ever touch the run it was sent to."""
    run = activity.info().workflow_id
    assert run is not None
    return run, run.partition("/")[0]
