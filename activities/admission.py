"""Admission: `capsule.start`, the first action of every run. Starts that bypass the API meet the gate here."""

from temporalio import activity

from capsules.actions.action import Action
from capsules.actions.activity_context import current_context
from capsules.actions.verdict import Outcome
from capsules.digest import digest
from capsules.runs.run import Admission, Admissions, StartCapsule


def start_action(request: StartCapsule) -> Action:
    """Return the action of a start."""
    return Action(kind="capsule.start", target=request.capsule, effect="write", arguments=digest(request))


class AdmissionActivities:
    """Admission of runs, with its adapter injected."""

    def __init__(self, admissions: Admissions) -> None:
        self._admissions = admissions

    @activity.defn(name="capsule.start")
    async def start(self, request: StartCapsule) -> Outcome[Admission]:
        """Admit the run: create its lock, carve its budget, and replace its start authority by a run authority."""
        granted = current_context()
        return Outcome(
            value=await self._admissions.admit(
                request, run=granted.key.run, execution=granted.first_execution, authority=granted.authority
            )
        )
