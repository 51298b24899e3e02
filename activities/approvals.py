"""Approvals: platform activities that record what people decide about a run, checked against their tokens."""

from temporalio import activity

from activities.run_state import MAX_PROBLEMS, own_lock
from activities.tools import locked_call, tool_action
from capsules.actions.activity_context import current_context
from capsules.approvals.approval import (
    ApprovalDecision,
    DecisionResult,
    Escalate,
    Expire,
    RaiseBudget,
    RaiseBudgetResult,
)
from capsules.approvals.approval_edit import EditProblem, EditRequest, EditResult
from capsules.approvals.eligibility import ApprovalDecisions
from capsules.json_schema import value_problems
from capsules.runs.lock import Locks


class ApprovalActivities:
    """Decisions of people: approve, deny, edit, escalate, expire, and raises of a run's budget."""

    def __init__(self, decisions: ApprovalDecisions, locks: Locks) -> None:
        self._decisions = decisions
        self._locks = locks

    @activity.defn(name="approval.approve")
    async def approve(self, decision: ApprovalDecision) -> DecisionResult:
        """Record an approval, if its token is valid."""
        return await self._decisions.decide(*_run_and_tenant(), decision, approve=True)

    @activity.defn(name="approval.deny")
    async def deny(self, decision: ApprovalDecision) -> DecisionResult:
        """Record a denial, if its token is valid."""
        return await self._decisions.decide(*_run_and_tenant(), decision, approve=False)

    @activity.defn(name="approval.edit")
    async def edit(self, request: EditRequest) -> EditResult:
        """Record an approval edit, if its arguments follow the action's schema and its token is valid."""
        run, tenant = _run_and_tenant()
        call = locked_call(request.call, await own_lock(self._locks))
        wrong = value_problems(call.declared.inputs, call.arguments, most=MAX_PROBLEMS)
        problems = tuple(EditProblem(path=f"arguments{each.json_path[1:]}", message=each.message) for each in wrong)
        if problems:
            listed = "; ".join(f"{p.path}: {p.message}" for p in problems[:5])
            why = f"The arguments do not follow the schema of {call.tool.target(call.action)}: {listed}"
            return EditResult(approval=request.edit.approval, problem=why, problems=problems)
        return await self._decisions.edit(run, tenant, request.edit, into=tool_action(call).digest())

    @activity.defn(name="approval.escalate")
    async def escalate(self, request: Escalate) -> None:
        """Record and publish that the next group may decide."""
        await self._decisions.escalate(_run_and_tenant()[1], request)

    @activity.defn(name="approval.expire")
    async def expire(self, request: Expire) -> DecisionResult:
        """Record that nobody decided in time; a decision that came before stands."""
        return await self._decisions.expire(_run_and_tenant()[1], request)

    @activity.defn(name="budget.raise")
    async def raise_budget(self, request: RaiseBudget) -> RaiseBudgetResult:
        """Raise the run's limit, if the token is valid."""
        return await self._decisions.raise_budget(*_run_and_tenant(), request)


def _run_and_tenant() -> tuple[str, str]:
    """Return run and tenant of the calling workflow: a decision counts only for the run that it was sent to."""
    context = current_context()
    return context.key.run, context.tenant
