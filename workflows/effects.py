"""Governed effects of a run: `act` is the only function that calls a governed activity.

It waits for an approval when the gate asks for one, and for a budget raise when a limit is spent. A denial is raised as
`PolicyDenied`. `try_act` returns it instead, so that a persona can read it and adapt.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

from temporalio import workflow
from temporalio.common import Priority
from temporalio.exceptions import ActivityError, ApplicationError, CancelledError

from activities.approvals import ApprovalActivities
from activities.run_state import RunStateActivities
from capsules.actions.verdict import Outcome
from capsules.approvals.approval import ApprovalRequest, ApprovalState, Escalate, Expire
from capsules.budgets.amounts import reached_threshold
from capsules.digest import canonical
from capsules.errors import ApprovalRequired, BudgetExhausted, EffectFailed, PolicyDenied, RateLimited, SomaError
from capsules.models.chat import Message
from capsules.runs.run import RunStatus, RunUpdate, StepRecord
from capsules.tools.tool import ToolRequest
from policy.temporal_errors import from_failure
from workflows.message_handlers import MessageHandlers
from workflows.options import RECENT_STEPS, ActivityOptions, activity_id, platform_activity, require_outcome
from workflows.search_attributes import describe, upsert_status


class RunFailed(SomaError):
    """The run fails. The message is the reason."""

    code = "RunFailed"


class GovernedEffects(MessageHandlers):
    """State of a run with its message handlers, and the effects that it may have."""

    async def act[A, R](
        self,
        effect: Callable[[Any, A], Awaitable[Outcome[R]]],
        argument: A,
        options: ActivityOptions,
        summary: str,
    ) -> Outcome[R]:
        """Perform one effect and return its outcome. Waits for approval, budget, rate limit and resume as needed.

        Raises PolicyDenied when the gate or a person denies it or nobody decides in time, EffectFailed when the effect
        rejects its input, BudgetExhausted when the capsule does not wait for budget, and RunFailed for other errors.
        """
        while True:
            await self.wait_while_paused()
            id_ = activity_id()
            try:
                outcome: Outcome[R] = await workflow.execute_activity_method(
                    effect,
                    argument,
                    activity_id=id_,
                    task_queue=options.queue,
                    start_to_close_timeout=options.start_to_close,
                    heartbeat_timeout=options.heartbeat,
                    retry_policy=options.retry,
                    cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
                    summary=summary,
                    priority=Priority(fairness_key=self.start.tenant[:64]),
                )
            except ActivityError as error:
                argument = await self._argument_for_retry(error, argument)
                continue
            require_outcome(outcome, id_)
            self.state.spent = self.state.spent + outcome.usage
            self.state.left = outcome.left or self.state.left
            self._record_step(summary, outcome)
            await self._apply_budget_rules()
            return outcome

    async def try_act[A, R](
        self,
        effect: Callable[[Any, A], Awaitable[Outcome[R]]],
        argument: A,
        options: ActivityOptions,
        summary: str,
    ) -> Outcome[R] | PolicyDenied | EffectFailed:
        """Perform one effect as `act` does, but return a denial or failure. Raises BudgetExhausted and RunFailed."""
        try:
            return await self.act(effect, argument, options, summary)
        except (PolicyDenied, EffectFailed) as refusal:
            return refusal

    async def _argument_for_retry[A](self, error: ActivityError, argument: A) -> A:
        """Wait for what the failure requires, and return the argument of the next attempt.

        Raises PolicyDenied, EffectFailed, BudgetExhausted or RunFailed when there is no next attempt.
        """
        if isinstance(error.cause, CancelledError):
            # `wall_clock` and `lifecycle` recognise a cancellation by asyncio's type, not by Temporal's.
            raise asyncio.CancelledError from error
        match from_failure(error, authentic=True):
            case PolicyDenied() | EffectFailed() as refusal:
                raise refusal from error
            case ApprovalRequired(fields={"approval": asked}):
                return await self._wait_for_approval(ApprovalRequest.model_validate(asked), argument)
            case BudgetExhausted() as exhausted:
                await self._wait_for_budget(exhausted)
                return argument
            case RateLimited(fields={"account": _, "retry_after": seconds}):
                # Temporal retried with backoff; its attempts are used up, so wait here and start again.
                await workflow.sleep(float(seconds))
                return argument
        if isinstance(error.cause, ApplicationError):
            raise RunFailed(f"{error.cause.type}: {error.cause.message}") from error
        raise error

    async def _wait_for_approval[A](self, approval: ApprovalRequest, argument: A) -> A:
        """Return the approved or edited argument. Raises PolicyDenied on denial and expiry."""
        self.state.approvals[approval.id] = approval
        if isinstance(argument, ToolRequest):
            self.state.asked[approval.id] = argument
        await self.set_status("awaiting_approval", f"{approval.kind} on {approval.target}: {approval.sentence}")
        with self._stop_clock():
            await self._wait_for_decision(approval)
        decided = self.state.decided.pop(approval.id)
        self.state.asked.pop(approval.id, None)
        await self.set_status("running")
        if decided == "approved":
            return argument
        if decided == "edited":
            return self._edited_argument(approval, argument)
        nobody = f"nobody decided in time; asked: {approval.describe_approvers()}"
        said = "a person denied it" if decided == "denied" else nobody
        raise PolicyDenied(f"{approval.kind} on {approval.target}: {said}. {approval.sentence}")

    async def _wait_for_decision(self, approval: ApprovalRequest) -> None:
        """Wait until the approval is decided. Escalate to each later group in time; expire it at the end."""
        for number, group in enumerate(approval.escalation, start=1):
            if await self._wait_for_decision_until(group.at, approval):
                return
            await platform_activity(
                ApprovalActivities.escalate,
                Escalate(approval=approval.id, groups=number),
                summary=f"escalate to {group.capability}",
            )
        if not await self._wait_for_decision_until(approval.expires_at, approval):
            await self._expire(approval)

    async def _expire(self, approval: ApprovalRequest) -> None:
        state: ApprovalState = "expired"
        # Histories older than this patch recorded no expiry.
        if workflow.patched("approval-expired"):
            recorded = await platform_activity(
                ApprovalActivities.expire, Expire(approval=approval.id), summary=f"expire {approval.id}"
            )
            state = recorded.state
        self.state.approvals.pop(approval.id, None)
        # A decision may have arrived while this activity ran.
        self.state.decided.setdefault(approval.id, state)

    async def _wait_for_decision_until(self, until: datetime, approval: ApprovalRequest) -> bool:
        """Wait for the decision until that moment; return whether there is one."""
        left = until - workflow.now()
        try:
            await workflow.wait_condition(
                lambda: approval.id in self.state.decided, timeout=max(left, timedelta(seconds=1))
            )
        except TimeoutError:
            return False
        return True

    def _edited_argument[A](self, approval: ApprovalRequest, argument: A) -> A:
        """Return the edited argument, and tell the persona, because the result is that of another call."""
        edited = self.state.edited.pop(approval.id)
        assert isinstance(edited, type(argument))
        said = canonical(edited.arguments).decode()
        note = f"A person changed the arguments of {approval.target} before it ran. They are now: {said[:4000]}"
        self.state.pending.append(Message(role="user", text=note))
        return edited

    async def _wait_for_budget(self, exhausted: BudgetExhausted) -> None:
        """Wait until the limit is raised. Raises `exhausted` when the capsule does not wait for that."""
        admission = self.state.admission
        if admission is None or admission.lock.capsule.spec.budget.on_exhausted == "fail":
            raise exhausted
        await self._wait_for_raise(exhausted.message)

    async def _wait_for_raise(self, sentence: str) -> None:
        raises = self.state.raises
        await self.set_status("awaiting_budget", sentence)
        with self._stop_clock():
            await workflow.wait_condition(lambda: self.state.raises > raises)
        await self.set_status("running")

    async def _apply_budget_rules(self) -> None:
        """Apply the capsule's rules for each budget threshold that this effect reached."""
        before, self.state.pressure = self.state.pressure, reached_threshold(self.state.spent, self.state.left)
        if self.state.admission is None or self.state.pressure <= before:
            return
        for rule in self.state.admission.lock.capsule.spec.budget.due_rules(before, self.state.pressure):
            sentence = f"{rule.at} % of a limit is spent."
            match rule.do:
                case "cheaper_model":
                    self.state.cheaper = rule.role
                case "shorter_outputs":
                    self.state.halvings += 1
                case "ask":
                    await self._wait_for_raise(sentence)
                case "pause":
                    self.state.paused = self.state.pressed = True
                    self.state.reason = f"{sentence} A raise, or a resume, lets it go on."
                case "stop":
                    raise RunFailed(f"{sentence} The capsule says to stop there.")

    async def wait_while_paused(self) -> None:
        """Return when the run is not paused."""
        if self.state.paused:
            await self.set_status("paused", self.state.reason)
            with self._stop_clock():
                await workflow.wait_condition(lambda: not self.state.paused)
            await self.set_status("running")

    @contextmanager
    def _stop_clock(self) -> Iterator[None]:
        """Stop the wall clock while the run waits for a person. Waiting does not use up its time budget."""
        began, clock = workflow.time(), self.clock
        due = clock.when() if clock else None
        if clock:
            clock.reschedule(None)
        try:
            yield
        finally:
            # Several tasks of a project can wait at once: only the first one stopped the clock.
            if clock and due is not None:
                waited = workflow.time() - began
                self.state.waited += waited
                clock.reschedule(due + waited)

    async def set_status(self, status: RunStatus, reason: str = "") -> None:
        """Change the status in the state, the search attributes, the details page and the run projection."""
        self.state.status, self.state.reason = status, reason[:1000]
        upsert_status(self.state)
        describe(self.state)
        update = RunUpdate(
            run=workflow.info().workflow_id,
            tenant=self.start.tenant,
            status=status,
            reason=self.state.reason,
            step=self.state.step,
        )
        await platform_activity(RunStateActivities.record, update, summary=status)

    def _record_step(self, did: str, outcome: Outcome[Any]) -> None:
        record = StepRecord(id=str(self.state.step), did=did, score=outcome.score)
        self.state.recent = [*self.state.recent, record][-RECENT_STEPS:]
        describe(self.state)
