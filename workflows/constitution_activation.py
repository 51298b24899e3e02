"""ActivateConstitution: the workflow that examines, proves, compares and activates a proposed constitution.

Until its last step the active constitution stays.
"""

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
from workflows.options import PROVING, platform_activity
from workflows.search_attributes import AWAITING_APPROVAL, CONSTITUTION, RUN_STATE, TENANT


@workflow.defn(name="ActivateConstitution")
class ActivateConstitution:
    """One proposal to change the constitution of one scope. It belongs to no run; its authority is the platform's."""

    @workflow.init
    def __init__(self, proposal: Proposal) -> None:
        self.proposal = proposal
        self.step = ActivationStep(tenant=proposal.tenant, id=proposal.id)
        self.state: ProposalState = "examining"
        self.why = ""
        self.votes = VoteResult(state="examining", missing=proposal.quorum)

    @property
    def authority(self) -> str:
        """The token that the authority interceptor adds to activities."""
        return self.proposal.authority

    @workflow.run
    async def run(self, proposal: Proposal) -> ProposalView:
        try:
            await self._examine()
            if proposal.quorum:
                await self._wait_for_votes(proposal.expires_seconds)
            if self.state == "approved":
                await platform_activity(ConstitutionActivities.activate, self.step)
                self._set_state("activated")
        except ActivityError as error:
            await self._conclude("refused", reason_of(error))
        except ConstitutionRefused as refused:
            await self._conclude("refused", refused.message)
        if self.state == "activated":
            await self._mirror()
        await workflow.wait_condition(workflow.all_handlers_finished)
        return self.view()

    @workflow.query(name="state", description="How far the change is, who agreed and how many are missing.")
    def view(self) -> ProposalView:
        return ProposalView(
            id=self.proposal.id,
            state=self.state,
            why=self.why,
            change=self.proposal.change,
            approved_by=self.votes.approved_by,
            missing=0 if self.state in SETTLED else self.votes.missing,
        )

    # The token says who votes, and only an activity can verify it.

    @workflow.update(name="approve", description="Agree to this change.")
    async def approve(self, vote: Vote) -> VoteResult:
        return await self._record_vote(vote, approve=True)

    @workflow.update(name="reject", description="End it: the active constitution stays.")
    async def reject(self, vote: Vote) -> VoteResult:
        return await self._record_vote(vote, approve=False)

    @approve.validator
    @reject.validator
    def _validate_vote(self, vote: Vote) -> None:
        if self.state != "awaiting_approval":
            raise Conflict(f"The activation is {self.state}; it does not wait for approval.")
        if vote.change != self.proposal.change.digest():
            raise Conflict("The vote is for another change than this one.")

    async def _examine(self) -> None:
        """Examine, prove and compare. Raises ConstitutionRefused when a guarantee does not hold."""
        await platform_activity(ConstitutionActivities.examine, self.proposal)
        self._set_state("proving")
        proved = await platform_activity(ConstitutionActivities.prove, self.step, options=PROVING)
        if proved.problem:
            raise ConstitutionRefused(proved.problem)
        self._set_state("comparing")
        compared = await platform_activity(ConstitutionActivities.compare, self.step, options=PROVING)
        if compared.problem:
            raise ConstitutionRefused(compared.problem)
        self._set_state("awaiting_approval" if self.proposal.quorum else "approved")

    async def _wait_for_votes(self, seconds: int) -> None:
        """Wait for enough approvals, one rejection, or the end of the time; then the proposal expires."""
        try:
            limit = timedelta(seconds=seconds)
            await workflow.wait_condition(
                lambda: self.state != "awaiting_approval", timeout=limit, timeout_summary="approval"
            )
        except TimeoutError:
            await self._conclude("expired", f"Nobody decided in time: {self.votes.missing} approvals were missing.")

    async def _record_vote(self, vote: Vote, *, approve: bool) -> VoteResult:
        cast = CastVote(step=self.step, vote=vote, approve=approve)
        result: VoteResult = await platform_activity(ConstitutionActivities.record_vote, cast)
        if result.problem is None and self.state == "awaiting_approval":
            self.votes = result
            if result.state == "rejected":
                self.why = vote.comment or "It was rejected."
            if result.state != "awaiting_approval":
                self._set_state(result.state)
        return result

    async def _mirror(self) -> None:
        """Send the constitution to SomaBrain. The activation stands whatever it answers."""
        try:
            await platform_activity(ConstitutionActivities.mirror, self.step, options=PROVING)
        except ActivityError as error:
            workflow.logger.warning("mirror.failed proposal=%s problem=%s", self.proposal.id, reason_of(error))

    async def _conclude(self, state: Any, why: str) -> None:  # noqa: ANN401 - refused or expired
        if self.state in SETTLED:
            return
        self.why = why
        self._set_state(state)
        await platform_activity(
            ConstitutionActivities.conclude, Conclusion(step=self.step, state=state, why=why[:4000])
        )

    def _set_state(self, state: ProposalState) -> None:
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
