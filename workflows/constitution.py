"""ActivateConstitution: examine → prove → compare → wait for people → activate. Until the last step nothing changes."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.exceptions import ActivityError

from activities.constitution_activation import ConstitutionActivities
from capsules.constitutions.proposal import (
    SETTLED,
    ActivationStep,
    CastVote,
    Conclusion,
    Proposal,
    ProposalState,
    ProposalView,
    Vote,
    VoteResult,
)
from capsules.errors import Conflict, ConstitutionRefused
from policy.temporal_errors import reason_of
from workflows.options import BOOKKEEPING, PROVING, ActivityOptions
from workflows.search_attributes import AWAITING_APPROVAL, CONSTITUTION, RUN_STATE, TENANT


@workflow.defn(name="ActivateConstitution")
class ActivateConstitution:
    """One change of what is active in one scope. It acts for no run and has no authority of one."""

    @workflow.init
    def __init__(self, proposal: Proposal) -> None:
        self.proposal = proposal
        self.step = ActivationStep(tenant=proposal.tenant, id=proposal.id)
        self.state: ProposalState = "examining"
        self.why = ""
        self.heard = VoteResult(state="examining", missing=proposal.quorum)

    @workflow.run
    async def run(self, proposal: Proposal) -> ProposalView:
        try:
            await self._establish()
            if proposal.quorum:
                await self._agreed(proposal.expires_seconds)
            if self.state == "approved":
                await self._do(ConstitutionActivities.activate, self.step, BOOKKEEPING)
                self._enter("activated")
        except ActivityError as error:
            await self._conclude("refused", reason_of(error))
        except ConstitutionRefused as refused:
            await self._conclude("refused", refused.message)
        if self.state == "activated":
            await self._mirrored()
        await workflow.wait_condition(workflow.all_handlers_finished)
        return self.view()

    @workflow.query(name="state", description="How far the change is, who agreed and how many are missing.")
    def view(self) -> ProposalView:
        return ProposalView(
            id=self.proposal.id,
            state=self.state,
            why=self.why,
            change=self.proposal.change,
            approved_by=self.heard.approved_by,
            missing=0 if self.state in SETTLED else self.heard.missing,
        )

    # Who speaks is in the token, which only an activity can check.

    @workflow.update(name="approve", description="Agree to this change.")
    async def approve(self, consent: Vote) -> VoteResult:
        return await self._record_vote(consent, approve=True)

    @approve.validator
    def _may_approve(self, consent: Vote) -> None:
        self._must_wait_for(consent)

    @workflow.update(name="reject", description="End it: the active constitution stays.")
    async def reject(self, consent: Vote) -> VoteResult:
        return await self._record_vote(consent, approve=False)

    @reject.validator
    def _may_reject(self, consent: Vote) -> None:
        self._must_wait_for(consent)

    async def _establish(self) -> None:
        """Find out everything that people need to know before they agree."""
        await self._do(ConstitutionActivities.examine, self.proposal, BOOKKEEPING)
        self._enter("proving")
        proved = await self._do(ConstitutionActivities.prove, self.step, PROVING)
        if proved.problem:
            raise ConstitutionRefused(proved.problem)
        self._enter("comparing")
        compared = await self._do(ConstitutionActivities.compare, self.step, PROVING)
        if compared.problem:
            raise ConstitutionRefused(compared.problem)
        self._enter("awaiting_approval" if self.proposal.quorum else "approved")

    async def _agreed(self, seconds: int) -> None:
        """Wait for enough people, for one no, or for the time to run out."""
        try:
            limit = timedelta(seconds=seconds)
            await workflow.wait_condition(
                lambda: self.state != "awaiting_approval", timeout=limit, timeout_summary="approval"
            )
        except TimeoutError:
            await self._conclude("expired", f"Nobody decided in time: {self.heard.missing} approvals were missing.")

    async def _record_vote(self, consent: Vote, *, approve: bool) -> VoteResult:
        voice = CastVote(step=self.step, consent=consent, approve=approve)
        heard: VoteResult = await self._do(ConstitutionActivities.record_vote, voice, BOOKKEEPING)
        if heard.problem is None and self.state == "awaiting_approval":
            self.heard = heard
            if heard.state == "rejected":
                self.why = consent.comment or "It was rejected."
            if heard.state != "awaiting_approval":
                self._enter(heard.state)
        return heard

    async def _mirrored(self) -> None:
        """Tell SomaBrain. Whatever it answers, the change has been made; the answer stands in the record."""
        try:
            await self._do(ConstitutionActivities.mirror, self.step, PROVING)
        except ActivityError as error:
            workflow.logger.warning("SomaBrain was not told of %s: %s", self.proposal.id, reason_of(error))

    async def _conclude(self, state: Any, why: str) -> None:  # noqa: ANN401 - refused or expired
        if self.state in SETTLED:
            return
        self.why = why
        self._enter(state)
        await self._do(
            ConstitutionActivities.conclude, Conclusion(step=self.step, state=state, why=why[:4000]), BOOKKEEPING
        )

    def _must_wait_for(self, consent: Vote) -> None:
        if self.state != "awaiting_approval":
            raise Conflict(f"The activation is {self.state}; it does not wait for approval.")
        if consent.change != self.proposal.change.digest():
            raise Conflict("The consent is for another change than this one.")

    def _enter(self, state: ProposalState) -> None:
        self.state = state
        constitution = self.proposal.change.constitution
        workflow.upsert_search_attributes(
            [
                TENANT.value_set(self.proposal.tenant),
                RUN_STATE.value_set(state),
                AWAITING_APPROVAL.value_set(state == "awaiting_approval"),
                *([CONSTITUTION.value_set(constitution)] if constitution else []),
            ]
        )
        workflow.set_current_details(f"**{state}** {self.why}".strip())

    async def _do[A, R](self, step: Callable[[Any, A], Awaitable[R]], argument: A, options: ActivityOptions) -> R:
        return await workflow.execute_activity_method(
            step,
            argument,
            task_queue=options.queue,
            start_to_close_timeout=options.start_to_close,
            heartbeat_timeout=options.heartbeat,
            retry_policy=options.retry,
        )
