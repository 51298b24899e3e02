"""Platform activities of `ActivateConstitution`: one for each step of an activation. They belong to no run."""

from temporalio import activity

from capsules.actions.activity_context import current_context
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
    workflow_id,
)
from capsules.errors import AuthorityRefused


class ConstitutionActivities:
    """The steps of an activation, with their adapter injected."""

    def __init__(self, steps: ConstitutionSteps) -> None:
        self._steps = steps

    @activity.defn(name="constitution.examine")
    async def examine(self, proposal: Proposal) -> Examination:
        """Check the proposer, the signatures and the version guard."""
        own_step(ActivationStep(tenant=proposal.tenant, id=proposal.id))
        return await self._steps.examine(current_context().key.run, proposal)

    @activity.defn(name="constitution.prove")
    async def prove(self, step: ActivationStep) -> Findings:
        """Prove every guarantee and, for a tenant's constitution, that it is only stricter."""
        return await self._steps.prove(own_step(step), alive=activity.heartbeat)

    @activity.defn(name="constitution.compare")
    async def compare(self, step: ActivationStep) -> Findings:
        """Compare with the active constitution: each kind of difference with an action that shows it."""
        return await self._steps.compare(own_step(step), alive=activity.heartbeat)

    @activity.defn(name="constitution.record_vote")
    async def record_vote(self, cast: CastVote) -> VoteResult:
        """Record a vote, if its token is valid for the proposal that it was sent to."""
        own_step(cast.step)
        return await self._steps.record_vote(current_context().key.run, cast)

    @activity.defn(name="constitution.activate")
    async def activate(self, step: ActivationStep) -> None:
        """Activate it and write the event, in one transaction."""
        await self._steps.activate(own_step(step))

    @activity.defn(name="constitution.mirror")
    async def mirror(self, step: ActivationStep) -> MirrorResult:
        """Send it to SomaBrain, if there is one, and record the answer."""
        return await self._steps.mirror(own_step(step), alive=activity.heartbeat)

    @activity.defn(name="constitution.conclude")
    async def conclude(self, conclusion: Conclusion) -> None:
        """Record why it did not become active."""
        own_step(conclusion.step)
        await self._steps.conclude(conclusion)


def own_step(step: ActivationStep) -> ActivationStep:
    """Return the step. Raises AuthorityRefused when it is of another proposal than that of the calling workflow."""
    context = current_context()
    if step.tenant != context.tenant or context.key.run != workflow_id(step.tenant, step.id):
        raise AuthorityRefused(f"Proposal {step.id!r} of {step.tenant!r} is not that of workflow {context.key.run!r}.")
    return step
