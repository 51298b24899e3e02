"""`act`: the one function through which a run has an effect.

It asks for the governed activity, waits for a person where the gate asks, and waits for more budget or ends without it.
A denial is raised as `PolicyDenied`. `try_act` returns it instead, for a persona that can read it and adapt.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

from temporalio import workflow
from temporalio.common import Priority
from temporalio.exceptions import ActivityError, ApplicationError, CancelledError

from activities.run_state import RunStateActivities
from capsules.actions.verdict import Outcome
from capsules.approvals.approval import ApprovalRequest, Escalate, Expire, State
from capsules.digest import canonical
from capsules.errors import ApprovalRequired, BudgetExhausted, EffectFailed, PolicyDenied, RateLimited, SomaError
from capsules.models.chat import Message
from capsules.runs.run import RunStatus, RunUpdate, StepRecord
from capsules.tools.tool import ToolCall
from policy.temporal_errors import from_failure
from workflows.budget_thresholds import due_rules, reached_threshold
from workflows.message_handlers import MessageHandlers
from workflows.options import BOOKKEEPING, RECENT_STEPS, ActivityOptions
from workflows.search_attributes import announce_status, describe


class RunEnds(SomaError):
    """The run cannot go on; the message is its reason."""

    code = "RunFailed"


class GovernedEffects(MessageHandlers):
    """A run that can act."""

    async def act[A, R](
        self,
        effect: Callable[[Any, A], Awaitable[Outcome[R]]],
        argument: A,
        options: ActivityOptions,
        summary: str,
    ) -> Outcome[R]:
        """Ask for one effect until it happened, and return its outcome.

        Raises PolicyDenied when the gate or a person says no or nobody decides in time, EffectFailed when the effect
        rejects its input, BudgetExhausted when the capsule does not wait for more budget, and RunEnds for the rest.
        """
        while True:
            await self.wait_while_paused()
            try:
                outcome = await self._perform(effect, argument, options, summary)
            except ActivityError as error:
                argument = await self._argument_after(error, argument)
                continue
            self.state.spent = self.state.spent + outcome.usage
            self.state.left = outcome.left or self.state.left
            self._note(summary, outcome)
            await self._under_pressure()
            return outcome

    async def try_act[A, R](
        self,
        effect: Callable[[Any, A], Awaitable[Outcome[R]]],
        argument: A,
        options: ActivityOptions,
        summary: str,
    ) -> Outcome[R] | PolicyDenied | EffectFailed:
        """Do as `act` does, but return what a persona can adapt to. Raises BudgetExhausted and RunEnds."""
        try:
            return await self.act(effect, argument, options, summary)
        except (PolicyDenied, EffectFailed) as refusal:
            return refusal

    async def _perform[A, R](
        self,
        effect: Callable[[Any, A], Awaitable[Outcome[R]]],
        argument: A,
        options: ActivityOptions,
        summary: str,
    ) -> Outcome[R]:
        return await workflow.execute_activity_method(
            effect,
            argument,
            task_queue=options.queue,
            start_to_close_timeout=options.start_to_close,
            heartbeat_timeout=options.heartbeat,
            retry_policy=options.retry,
            cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
            summary=summary,
            priority=Priority(fairness_key=self.start.tenant[:64]),
        )

    async def _argument_after[A](self, error: ActivityError, argument: A) -> A:
        """Return with what the action is to be tried again, after the wait that its failure asks for.

        Raises PolicyDenied, EffectFailed, BudgetExhausted or RunEnds when it is not to be tried again.
        """
        if isinstance(error.cause, CancelledError):
            # Back to what asyncio knows: the wall clock and the lifecycle tell a cancellation from a failure by it.
            raise asyncio.CancelledError from error
        match from_failure(error):
            case PolicyDenied() | EffectFailed() as refusal:
                raise refusal from error
            case ApprovalRequired(fields={"approval": asked}):
                return await self._wait_for_person(ApprovalRequest.model_validate(asked), argument)
            case BudgetExhausted() as exhausted:
                await self._wait_for_budget(exhausted)
                return argument
            case RateLimited(fields={"account": _, "retry_after": seconds}):
                # Temporal waited between the attempts; this goes on when there are no more of them.
                await workflow.sleep(float(seconds))
                return argument
        if isinstance(error.cause, ApplicationError):
            raise RunEnds(f"{error.cause.type}: {error.cause.message}") from error
        raise error

    async def _wait_for_person[A](self, approval: ApprovalRequest, argument: A) -> A:
        """Return the argument that a person approved. Raises PolicyDenied when nobody did."""
        self.state.approvals[approval.id] = approval
        if isinstance(argument, ToolCall):
            self.state.asked[approval.id] = argument
        await self.enter("awaiting_approval", f"{approval.kind} on {approval.target}: {approval.sentence}")
        with self._clock_stopped():
            await self._until_decided(approval)
        decided = self.state.decided.pop(approval.id)
        self.state.asked.pop(approval.id, None)
        await self.enter("running")
        if decided == "approved":
            return argument
        if decided == "edited":
            return self._as_edited(approval, argument)
        nobody = f"nobody decided in time; asked: {approval.describe_approvers()}"
        said = "a person denied it" if decided == "denied" else nobody
        raise PolicyDenied(f"{approval.kind} on {approval.target}: {said}. {approval.sentence}")

    async def _until_decided(self, approval: ApprovalRequest) -> None:
        """Wait for a decision, telling each later group when its moment comes; expire when nobody decides."""
        for number, group in enumerate(approval.escalation, start=1):
            if await self._decided(approval, until=group.at):
                return
            await workflow.execute_activity_method(
                RunStateActivities.escalate,
                Escalate(approval=approval.id, groups=number),
                task_queue=BOOKKEEPING.queue,
                start_to_close_timeout=BOOKKEEPING.start_to_close,
                retry_policy=BOOKKEEPING.retry,
                summary=f"escalate to {group.capability}",
            )
        if not await self._decided(approval, until=approval.expires_at):
            await self._expire(approval)

    async def _expire(self, approval: ApprovalRequest) -> None:
        state: State = "expired"
        # Runs of before it was written down wait on as they did.
        if workflow.patched("approval-expired"):
            made = await workflow.execute_activity_method(
                RunStateActivities.expire,
                Expire(approval=approval.id),
                task_queue=BOOKKEEPING.queue,
                start_to_close_timeout=BOOKKEEPING.start_to_close,
                retry_policy=BOOKKEEPING.retry,
                summary=f"expire {approval.id}",
            )
            state = made.state
        self.state.approvals.pop(approval.id, None)
        # Somebody may have decided at the last moment, while this was on its way.
        self.state.decided.setdefault(approval.id, state)

    async def _decided(self, approval: ApprovalRequest, *, until: datetime) -> bool:
        left = until - workflow.now()
        try:
            await workflow.wait_condition(
                lambda: approval.id in self.state.decided, timeout=max(left, timedelta(seconds=1))
            )
        except TimeoutError:
            return False
        return True

    def _as_edited[A](self, approval: ApprovalRequest, argument: A) -> A:
        """Return the argument as a person wants it, and tell the persona: it sees the result of another call."""
        edited = self.state.edited.pop(approval.id)
        assert isinstance(edited, type(argument))
        said = canonical(edited.arguments).decode()
        note = f"A person changed the arguments of {approval.target} before it ran. They are now: {said[:4000]}"
        self.state.pending.append(Message(role="user", text=note))
        return edited

    async def _wait_for_budget(self, exhausted: BudgetExhausted) -> None:
        """Return when the limit was raised. Raises `exhausted` when the capsule does not wait for that."""
        admission = self.state.admission
        if admission is None or admission.lock.capsule.spec.budget.on_exhausted == "fail":
            raise exhausted
        await self._until_raised(exhausted.message)

    async def _until_raised(self, sentence: str) -> None:
        raises = self.state.raises
        await self.enter("awaiting_budget", sentence)
        with self._clock_stopped():
            await workflow.wait_condition(lambda: self.state.raises > raises)
        await self.enter("running")

    async def _under_pressure(self) -> None:
        """Do what the capsule wants done when another part of a limit is spent."""
        before, self.state.pressure = self.state.pressure, reached_threshold(self.state.spent, self.state.left)
        if self.state.admission is None or self.state.pressure <= before:
            return
        for rule in due_rules(self.state.admission.lock.capsule.spec.budget, before, self.state.pressure):
            sentence = f"{rule.at} % of a limit is spent."
            match rule.do:
                case "cheaper_model":
                    self.state.cheaper = rule.role
                case "shorter_outputs":
                    self.state.halvings += 1
                case "ask":
                    await self._until_raised(sentence)
                case "pause":
                    self.state.paused = self.state.pressed = True
                    self.state.reason = f"{sentence} A raise, or a resume, lets it go on."
                case "stop":
                    raise RunEnds(f"{sentence} The capsule says to stop there.")

    async def wait_while_paused(self) -> None:
        """Return at once, or when the run is resumed."""
        if self.state.paused:
            await self.enter("paused", self.state.reason)
            with self._clock_stopped():
                await workflow.wait_condition(lambda: not self.state.paused)
            await self.enter("running")

    @contextmanager
    def _clock_stopped(self) -> Iterator[None]:
        """Stop the wall clock while a person is waited for: the budget is for work."""
        began, clock = workflow.time(), self.clock
        due = clock.when() if clock else None
        if clock:
            clock.reschedule(None)
        try:
            yield
        finally:
            # Several tasks of a project can wait at once: the first to stop the clock is the one that counts.
            if clock and due is not None:
                waited = workflow.time() - began
                self.state.waited += waited
                clock.reschedule(due + waited)

    async def enter(self, status: RunStatus, reason: str = "") -> None:
        """Change the status: state, search attributes, live page, and the projection that lists read."""
        self.state.status, self.state.reason = status, reason[:1000]
        announce_status(self.state)
        describe(self.state)
        update = RunUpdate(
            run=workflow.info().workflow_id,
            tenant=self.start.tenant,
            status=status,
            reason=self.state.reason,
            step=self.state.step,
        )
        await workflow.execute_activity_method(
            RunStateActivities.record,
            update,
            task_queue=BOOKKEEPING.queue,
            start_to_close_timeout=BOOKKEEPING.start_to_close,
            retry_policy=BOOKKEEPING.retry,
            summary=status,
        )

    def _note(self, did: str, outcome: Outcome[Any]) -> None:
        record = StepRecord(id=str(self.state.step), did=did, score=outcome.score)
        self.state.recent = [*self.state.recent, record][-RECENT_STEPS:]
        describe(self.state)
