"""`capsule.start`: the first action of every run, on itself. Starts that bypass the API meet the gate here."""

from temporalio import activity

from capsules.actions.action import Action
from capsules.actions.activity_context import current_pass
from capsules.actions.verdict import Outcome
from capsules.digest import digest
from capsules.runs.run import Admission, Admissions, StartCapsule


def start_action(request: StartCapsule) -> Action:
    return Action(kind="capsule.start", target=request.capsule, effect="write", arguments=digest(request))


class AdmissionActivities:
    def __init__(self, admissions: Admissions) -> None:
        self._admissions = admissions

    @activity.defn(name="capsule.start")
    async def start(self, request: StartCapsule) -> Outcome[Admission]:
        """Admit the run: lock what it depends on, carve its budget, exchange its authority."""
        granted = current_pass()
        return Outcome(value=await self._admissions.admit(request, run=granted.key.run, authority=granted.authority))
