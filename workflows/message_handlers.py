"""Message handlers of a run: queries, and Updates and Signals for decisions, budget raises, control and messages."""

import asyncio

from temporalio import workflow

from activities.approvals import ApprovalActivities
from capsules.approvals.approval import (
    ApprovalDecision,
    ApprovalRequest,
    DecisionResult,
    RaiseBudget,
    RaiseBudgetResult,
)
from capsules.approvals.approval_edit import ApprovalEdit, EditRequest, EditResult, WaitingCall, WaitingCalls
from capsules.budgets.amounts import reached_threshold
from capsules.digest import digest
from capsules.errors import Conflict, Invalid, NotFound, SomaError
from capsules.runs.run import TERMINAL, Control, InboxMessage, RunStart, RunState, RunView
from workflows.options import REMEMBERED_MESSAGES, platform_activity


class MessageHandlers:
    """State of a run, and every handler that changes it from outside. An Update and a Signal share one reducer."""

    def __init__(self, start: RunStart) -> None:
        self.start = start
        self.state = start.carried or RunState()
        self.clock: asyncio.Timeout | None = None
        self._working: asyncio.Task[object] | None = None

    @property
    def authority(self) -> str:
        """The token that the authority interceptor adds to activities and children."""
        return self.state.admission.authority if self.state.admission else self.start.authority

    @workflow.query(name="state", description="Status, step, budget and waiting approvals.")
    def view(self) -> RunView:
        state = self.state
        return RunView(
            status=state.status,
            reason=state.reason,
            step=state.step,
            max_steps=state.admission.lock.capsule.spec.guardrails.max_steps if state.admission else 0,
            spent=state.spent,
            left=state.left,
            pressure=state.pressure,
            messages=len(state.message_ids),
            approvals=tuple(state.approvals.values()),
            recent=tuple(state.recent),
        )

    @workflow.query(name="waiting", description="Tool calls that wait for a person, with their arguments.")
    def waiting(self) -> WaitingCalls:
        return WaitingCalls(
            calls={
                approval: WaitingCall(target=call.target, arguments=call.arguments)
                for approval, call in self.state.asked.items()
            }
        )

    # Approvals: the token says who decides, and only an activity can verify it.

    @workflow.update(name="approve", description="Approve one waiting action.")
    async def approve(self, decision: ApprovalDecision) -> DecisionResult:
        return await self._decide(decision, approve=True)

    @workflow.update(name="deny", description="Deny one waiting action.")
    async def deny(self, decision: ApprovalDecision) -> DecisionResult:
        return await self._decide(decision, approve=False)

    @approve.validator
    @deny.validator
    def _validate_decision(self, decision: ApprovalDecision) -> None:
        self._require_waiting(decision)

    @workflow.signal(name="approve", description="Approve one waiting action.")
    async def approve_by_signal(self, decision: ApprovalDecision) -> None:
        await self._decide_by_signal(decision, approve=True)

    @workflow.signal(name="deny", description="Deny one waiting action.")
    async def deny_by_signal(self, decision: ApprovalDecision) -> None:
        await self._decide_by_signal(decision, approve=False)

    @workflow.update(
        name="edit", description="Change the arguments of one waiting tool call. The gate evaluates it again."
    )
    async def edit(self, edit: ApprovalEdit) -> EditResult:
        return await self._edit(edit)

    @edit.validator
    def _validate_edit(self, edit: ApprovalEdit) -> None:
        waiting = self._require_waiting(edit)
        call = self.state.asked.get(edit.approval)
        if call is None:
            raise Conflict(f"{waiting.kind} on {waiting.target} is no tool call, so it has no arguments to edit.")
        if digest(edit.arguments) == digest(call.arguments):
            raise Conflict("The arguments are the same as before; change one, or approve.")

    # Budget

    @workflow.update(name="raise_budget", description="Add to the run's limit.")
    async def raise_budget(self, request: RaiseBudget) -> RaiseBudgetResult:
        return await self._raise_budget(request)

    @raise_budget.validator
    def _validate_raise(self, request: RaiseBudget) -> None:
        self._require_open()
        if self.state.admission is None:
            raise Conflict("The run is not admitted yet, so it has no budget to raise.")
        if not any(request.amounts.model_dump().values()):
            raise Invalid("Every amount is zero; say what to add.")

    @workflow.signal(name="raise_budget", description="Add to the run's limit.")
    async def raise_budget_by_signal(self, request: RaiseBudget) -> None:
        if self.state.admission is not None:
            await self._raise_budget(request)

    # Control

    @workflow.update(name="pause", description="Stop before the next action.")
    def pause(self, control: Control) -> RunView:
        return self._pause(control)

    @workflow.signal(name="pause", description="Stop before the next action.")
    def pause_by_signal(self, control: Control) -> None:
        self._pause(control)

    @workflow.update(name="resume", description="Go on after a pause.")
    def resume(self, control: Control) -> RunView:
        return self._resume(control)

    @resume.validator
    def _validate_resume(self, control: Control) -> None:
        self._require_open()
        if not self.state.paused:
            raise Conflict("The run is not paused.")

    @workflow.signal(name="resume", description="Go on after a pause.")
    def resume_by_signal(self, control: Control) -> None:
        self._resume(control)

    @workflow.update(name="cancel", description="End the run; its containers stop.")
    def cancel(self, control: Control) -> RunView:
        return self._cancel(control)

    @pause.validator
    @cancel.validator
    def _validate_control(self, control: Control) -> None:
        self._require_open()

    @workflow.signal(name="cancel", description="End the run; its containers stop.")
    def cancel_by_signal(self, control: Control) -> None:
        self._cancel(control)

    @workflow.update(name="message", description="Tell the persona something.")
    def message(self, message: InboxMessage) -> RunView:
        return self._receive(message)

    @message.validator
    def _validate_message(self, message: InboxMessage) -> None:
        self._require_open()

    @workflow.signal(name="message", description="Tell the persona something.")
    def message_by_signal(self, message: InboxMessage) -> None:
        self._receive(message)

    # Reducers

    async def _decide(self, decision: ApprovalDecision, *, approve: bool) -> DecisionResult:
        made = await platform_activity(
            ApprovalActivities.approve if approve else ApprovalActivities.deny,
            decision,
            summary=f"{'approve' if approve else 'deny'} {decision.approval}",
        )
        # An approval that needs more answers stays pending.
        if made.problem is None and made.state != "pending":
            self.state.approvals.pop(decision.approval, None)
            self.state.decided[decision.approval] = "approved" if approve else "denied"
        return made

    async def _edit(self, edit: ApprovalEdit) -> EditResult:
        call = self.state.asked[edit.approval].model_copy(update={"arguments": edit.arguments})
        made = await platform_activity(
            ApprovalActivities.edit, EditRequest(edit=edit, call=call), summary=f"edit {edit.approval}"
        )
        if made.problem is None:
            self.state.approvals.pop(edit.approval, None)
            self.state.edited[edit.approval] = call
            self.state.decided[edit.approval] = "edited"
        return made

    async def _decide_by_signal(self, decision: ApprovalDecision, *, approve: bool) -> None:
        """Decide; log what an Update would raise, because a Signal has no answer."""
        try:
            self._require_waiting(decision)
        except SomaError as error:
            workflow.logger.warning("decision.refused problem=%s", error.message)
            return
        made = await self._decide(decision, approve=approve)
        if made.problem:
            workflow.logger.warning("decision.refused problem=%s", made.problem)

    async def _raise_budget(self, request: RaiseBudget) -> RaiseBudgetResult:
        raised = await platform_activity(ApprovalActivities.raise_budget, request, summary="raise budget")
        if raised.problem is None:
            self.state.left = raised.left
            self.state.raises += 1
            # A smaller share of the new limit is spent, so its thresholds can be reached again.
            unspent = raised.limit.minus(self.state.spent) if raised.limit else raised.left
            self.state.pressure = reached_threshold(self.state.spent, unspent)
            if self.state.pressed:
                self.state.paused = self.state.pressed = False
        return raised

    def _pause(self, control: Control) -> RunView:
        self.state.paused = True
        self.state.reason = control.reason
        return self.view()

    def _resume(self, control: Control) -> RunView:
        self.state.paused = self.state.pressed = False
        self.state.reason = control.reason
        return self.view()

    def _cancel(self, control: Control) -> RunView:
        # The flag is durable; a CancelledError that arrives together with other events can be lost.
        self.state.cancel_requested = True
        self.state.reason = control.reason or "cancelled on request"
        if self._working is not None:
            self._working.cancel()
        return self.view()

    def _receive(self, message: InboxMessage) -> RunView:
        if message.id not in self.state.message_ids:
            self.state.message_ids = [*self.state.message_ids, message.id][-REMEMBERED_MESSAGES:]
            self.state.inbox.append(message)
        return self.view()

    # Checks of validators

    def _require_open(self) -> None:
        if self.state.status in TERMINAL or self.state.cancel_requested:
            raise Conflict(f"The run is {self.state.status}; nothing more can be said to it.")

    def _require_waiting(self, decision: ApprovalDecision | ApprovalEdit) -> ApprovalRequest:
        self._require_open()
        waiting = self.state.approvals.get(decision.approval)
        if waiting is None:
            known = ", ".join(self.state.approvals) or "none"
            raise NotFound(f"No approval {decision.approval!r} is waiting. Waiting: {known}.")
        if waiting.action != decision.action:
            raise Conflict(f"Approval {decision.approval!r} is for action {waiting.action}, not for {decision.action}.")
        return waiting
