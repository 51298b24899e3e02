"""Platform activities of the workflow that changes constitutions. They act for no run; one explicit list."""

from temporalio import activity

from capsules.constitutions.proposal import (
    ActivationStep,
    CastVote,
    Conclusion,
    ConstitutionSteps,
    Examination,
    Findings,
    Mirrored,
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
"""All that `ActivateConstitution` may ask for."""


class ConstitutionActivities:
    """The steps, with the adapter injected that holds store, keys and prover."""

    def __init__(self, steps: ConstitutionSteps) -> None:
        self._steps = steps

    @activity.defn(name="constitution.examine")
    async def examine(self, proposal: Proposal) -> Examination:
        """Check who proposes, who signed, and that nothing older comes back."""
        return await self._steps.examine(_workflow(), proposal)

    @activity.defn(name="constitution.prove")
    async def prove(self, step: ActivationStep) -> Findings:
        """Prove every guarantee and, where it must, that it only narrows."""
        return await self._steps.prove(step, alive=activity.heartbeat)

    @activity.defn(name="constitution.compare")
    async def compare(self, step: ActivationStep) -> Findings:
        """Say what would be decided otherwise than now, each with an action that shows it."""
        return await self._steps.compare(step, alive=activity.heartbeat)

    @activity.defn(name="constitution.record_vote")
    async def record_vote(self, voice: CastVote) -> VoteResult:
        """Record a person's yes or no, if the token says who may give it."""
        return await self._steps.record_vote(_workflow(), voice)

    @activity.defn(name="constitution.activate")
    async def activate(self, step: ActivationStep) -> None:
        """Make it active and write the event, in one transaction."""
        await self._steps.activate(step)

    @activity.defn(name="constitution.mirror")
    async def mirror(self, step: ActivationStep) -> Mirrored:
        """Tell SomaBrain, where there is one, and write down what it said."""
        return await self._steps.mirror(step, alive=activity.heartbeat)

    @activity.defn(name="constitution.conclude")
    async def conclude(self, conclusion: Conclusion) -> None:
        """Write down why it did not become active."""
        await self._steps.conclude(conclusion)


def _workflow() -> str:
    """Return the calling workflow: a word can only ever count for the proposal it was sent to."""
    run = activity.info().workflow_id
    assert run is not None
    return run
