"""A governed application: its name, its terms, and how its workflows map to runs.

A run is one execution of a workflow, continue-as-new included. A workflow id can be used again: each use is another
run, with its own receipts and account.
"""

import re
from datetime import timedelta

from pydantic import Field

from capsules.actions.action import Autonomy
from capsules.base_model import StrictModel
from capsules.budgets.amounts import Amounts
from capsules.digest import Digest, sha256
from capsules.names import Name, RunId, TenantId, Version

# What one part of a run's id may hold, so that URLs can name the run.
_PLAIN = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,79}$")


class Application(StrictModel):
    """Tenant, name and version of an application, and the ids of its runs."""

    tenant: TenantId
    name: Name
    version: Version = "1.0.0"

    @property
    def ref(self) -> str:
        """Return what receipts name in place of a capsule."""
        return f"{self.name}@{self.version}"

    def runs_of(self, workflow_id: str) -> str:
        """Return what every run of this workflow id begins with."""
        return f"{self.tenant}/{self.name}/{segment(workflow_id)}/"

    def run(self, workflow_id: str, first_run_id: str) -> RunId:
        """Return the run of the execution that began as `first_run_id`."""
        return f"{self.runs_of(workflow_id)}{first_run_id}"

    def target(self, activity_type: str) -> str:
        """Return the default target of an activity."""
        return f"{self.name}/{activity_type}"


class Terms(StrictModel):
    """Terms under which the workflows of an application run."""

    application: Application
    actor: str = Field(
        min_length=1, description="On whose behalf workflows run, unless `on_behalf_of` names another actor."
    )
    budget: Amounts = Field(description="What one workflow may spend, its children included.")
    account: str | None = Field(default=None, description="Account that pays; unset, `limit`'s or the tenant's.")
    limit: Amounts | None = Field(default=None, description="What all workflows together may hold at once.")
    autonomy: Autonomy = "supervised"
    platform: frozenset[str] = Field(default=frozenset(), description="Activity types that pass ungoverned.")
    wait_for_approval: bool = Field(default=True, description="Retry until it is decided; false: fail at once.")
    retry_interval: timedelta = Field(
        default=timedelta(seconds=10), gt=timedelta(0), description="Time between retries."
    )
    authority_lifetime: timedelta = Field(
        default=timedelta(days=30), gt=timedelta(0), description="Of a start's authority."
    )

    @property
    def funding_account(self) -> str:
        """Return the account that budgets are carved from."""
        if self.account is not None:
            return self.account
        application = self.application
        return f"application:{application.name}" if self.limit is not None else f"tenant:{application.tenant}"


class Enrolment(StrictModel):
    """The values fixed at a run's first action for the whole run."""

    run: RunId
    root: RunId = Field(description="The run that was started from outside; its own id unless it is a child's.")
    application: str = Field(description="`name@version` at that moment.")
    actor: str
    namespace: str = Field(description="Of Temporal.")
    workflow_id: str
    workflow_type: str
    first_run_id: str
    account: str = Field(description="The root's: a child spends its root's budget.")
    constitution: Digest


def segment(workflow_id: str) -> str:
    """Return a workflow id as one part of a run's id: itself when it is plain and short, else its digest."""
    if _PLAIN.match(workflow_id) and not workflow_id.startswith("sha256:"):
        return workflow_id
    return sha256(workflow_id.encode())
