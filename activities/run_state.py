"""Run state: platform activities for run projection, approvals, budget and deliverable, in our own database only."""

from typing import Any

from jsonschema import Draft202012Validator
from temporalio import activity

from activities.tools import tool_action
from capsules.approvals.approval import ApprovalDecision, BudgetRaised, DecisionMade, Escalate, Expire, RaiseBudget
from capsules.approvals.approval_edit import EditMade, EditProblem, EditRequest
from capsules.approvals.approval_rules import Decisions
from capsules.budgets.account import Account
from capsules.errors import Invalid
from capsules.expressions import holds
from capsules.runs.run import Closed, CloseRun, Runs, RunUpdate, Verification, Verify

MOST_PROBLEMS = 10


class RunStateActivities:
    """Run projection and decisions of people, with the store's adapters injected."""

    def __init__(self, runs: Runs, decisions: Decisions) -> None:
        self._runs = runs
        self._decisions = decisions

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
        run, tenant = _run_and_tenant()
        return await self._runs.account(run, tenant)

    @activity.defn(name="approval.approve")
    async def approve(self, decision: ApprovalDecision) -> DecisionMade:
        """Record an approval, if its token is valid."""
        return await self._decisions.decide(*_run_and_tenant(), decision, approve=True)

    @activity.defn(name="approval.deny")
    async def deny(self, decision: ApprovalDecision) -> DecisionMade:
        """Record a denial, if its token is valid."""
        return await self._decisions.decide(*_run_and_tenant(), decision, approve=False)

    @activity.defn(name="approval.edit")
    async def edit(self, request: EditRequest) -> EditMade:
        """Record an approval edit, if its arguments follow the action's schema and its token is valid."""
        call = request.call
        wrong = Draft202012Validator(call.tool.actions[call.action].inputs).iter_errors(call.arguments)
        problems = tuple(
            EditProblem(path=f"arguments{error.json_path[1:]}", message=error.message[:300]) for error in wrong
        )[:MOST_PROBLEMS]
        if problems:
            listed = "; ".join(f"{p.path}: {p.message}" for p in problems[:5])
            why = f"The arguments do not follow the schema of {call.tool.target(call.action)}: {listed}"
            return EditMade(approval=request.edit.approval, problem=why, problems=problems)
        return await self._decisions.edit(*_run_and_tenant(), request.edit, into=tool_action(call).digest())

    @activity.defn(name="approval.escalate")
    async def escalate(self, request: Escalate) -> None:
        """Record and publish that the next group may decide."""
        await self._decisions.escalate(_run_and_tenant()[1], request)

    @activity.defn(name="approval.expire")
    async def expire(self, request: Expire) -> DecisionMade:
        """Record that nobody decided in time; a decision that came before stands."""
        return await self._decisions.expire(_run_and_tenant()[1], request)

    @activity.defn(name="budget.raise")
    async def raise_budget(self, request: RaiseBudget) -> BudgetRaised:
        """Raise the run's limit, if the token is valid."""
        info = activity.info()
        key = f"{info.workflow_id}/{info.workflow_run_id}/{info.activity_id}"
        return await self._decisions.raise_budget(*_run_and_tenant(), request, key=key)

    @activity.defn(name="deliverable.verify")
    async def verify(self, request: Verify) -> Verification:
        """Check a deliverable against its schema and acceptance expressions."""
        problems = [
            f"{error.json_path}: {error.message}"[:300]
            for error in Draft202012Validator(request.shape).iter_errors(request.output)
        ]
        if not problems:
            problems = _failed_conditions(request)
        return Verification(problems=tuple(problems[:MOST_PROBLEMS]))


def _failed_conditions(request: Verify) -> list[str]:
    variables: dict[str, Any] = {"output": request.output, "inputs": request.inputs}
    problems = []
    for condition in request.accept:
        try:
            if not holds(condition, variables):
                problems.append(f"not accepted: {condition}")
        except Invalid as error:
            problems.append(error.message)
    return problems


def _run_and_tenant() -> tuple[str, str]:
    """Return run and tenant of the calling workflow: a decision counts only for the run that it was sent to."""
    run = activity.info().workflow_id
    assert run is not None
    return run, run.partition("/")[0]
