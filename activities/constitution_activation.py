"""Platform activities of `ActivateConstitution`: one for each step of an activation. They belong to no run."""

from temporalio import activity

from activities.run_state import calling_workflow
from capsules.constitutions.proposal import (
    ActivationStep,
    CastVote,
    Conclusion,
    ConstitutionSteps,
    Examination,
    Findings,
    MirrorResult,
    Proposal,
    VoteResult,
)

STEPS = frozenset(
    {
        "constitution.examine",
        "constitution.prove",
        "constitution.compare",
        "constitution.record_vote",
        "constitution.activate",
        "constitution.mirror",
        "constitution.conclude",
    }
)
"""The only activities that `ActivateConstitution` may call."""


class ConstitutionActivities:
    """The steps of an activation, with their adapter injected."""

    def __init__(self, steps: ConstitutionSteps) -> None:
        self._steps = steps

    @activity.defn(name="constitution.examine")
    async def examine(self, proposal: Proposal) -> Examination:
        """Check the proposer, the signatures and the version guard."""
        return await self._steps.examine(calling_workflow(), proposal)

    @activity.defn(name="constitution.prove")
    async def prove(self, step: ActivationStep) -> Findings:
        """Prove every guarantee and, for a tenant's constitution, that it is only stricter."""
        return await self._steps.prove(step, alive=activity.heartbeat)

    @activity.defn(name="constitution.compare")
    async def compare(self, step: ActivationStep) -> Findings:
        """Compare with the active constitution: each kind of difference with an action that shows it."""
        return await self._steps.compare(step, alive=activity.heartbeat)

    @activity.defn(name="constitution.record_vote")
    async def record_vote(self, cast: CastVote) -> VoteResult:
        """Record a vote, if its token is valid for the proposal that it was sent to."""
        return await self._steps.record_vote(calling_workflow(), cast)

    @activity.defn(name="constitution.activate")
    async def activate(self, step: ActivationStep) -> None:
        """Activate it and write the event, in one transaction."""
        await self._steps.activate(step)

    @activity.defn(name="constitution.mirror")
    async def mirror(self, step: ActivationStep) -> MirrorResult:
        """Send it to SomaBrain, if there is one, and record the answer."""
        return await self._steps.mirror(step, alive=activity.heartbeat)

    @activity.defn(name="constitution.conclude")
    async def conclude(self, conclusion: Conclusion) -> None:
        """Record why it did not become active."""
        await self._steps.conclude(conclusion)
