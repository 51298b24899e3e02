"""One transaction of one tenant, and the repositories in it."""

from dataclasses import dataclass
from functools import cached_property

from sqlalchemy.ext.asyncio import AsyncConnection

from somagent.db.repositories.accounts import Accounts
from somagent.db.repositories.applications import Applications
from somagent.db.repositories.approvals import Approvals
from somagent.db.repositories.audit import Audit
from somagent.db.repositories.capsules import Capsules
from somagent.db.repositories.content import Artifacts, Contents
from somagent.db.repositories.decision_log import DecisionLog, Shadows
from somagent.db.repositories.delegations import Delegations
from somagent.db.repositories.deliveries import Deliveries
from somagent.db.repositories.eligible_approvers import EligibleApprovers
from somagent.db.repositories.forecasts import Forecasts
from somagent.db.repositories.outbox import Events
from somagent.db.repositories.principals import Principals
from somagent.db.repositories.proposals import Proposals
from somagent.db.repositories.receipts import Receipts
from somagent.db.repositories.retention import Retentions
from somagent.db.repositories.runs import RunRows
from somagent.db.repositories.standing_grants import StandingGrants
from somagent.db.repositories.usage import UsageRows


@dataclass(frozen=True)
class Transaction:
    """Everything read and written here belongs to `tenant`: row-level security sees to it, not our queries."""

    connection: AsyncConnection
    tenant: str

    @cached_property
    def retention(self) -> Retentions:
        return Retentions(self.connection, self.tenant)

    @cached_property
    def accounts(self) -> Accounts:
        return Accounts(self.connection)

    @cached_property
    def applications(self) -> Applications:
        return Applications(self.connection, self.tenant)

    @cached_property
    def approvals(self) -> Approvals:
        return Approvals(self.connection, self.tenant)

    @cached_property
    def artifacts(self) -> Artifacts:
        return Artifacts(self.connection, self.tenant)

    @cached_property
    def audit(self) -> Audit:
        return Audit(self.connection, self.tenant)

    @cached_property
    def capsules(self) -> Capsules:
        return Capsules(self.connection, self.tenant)

    @cached_property
    def contents(self) -> Contents:
        return Contents(self.connection, self.tenant)

    @cached_property
    def deciders(self) -> EligibleApprovers:
        return EligibleApprovers(self.connection)

    @cached_property
    def delegations(self) -> Delegations:
        return Delegations(self.connection, self.tenant)

    @cached_property
    def deliveries(self) -> Deliveries:
        return Deliveries(self.connection)

    @cached_property
    def events(self) -> Events:
        return Events(self.connection, self.tenant)

    @cached_property
    def forecasts(self) -> Forecasts:
        return Forecasts(self.connection, self.tenant)

    @cached_property
    def principals(self) -> Principals:
        return Principals(self.connection, self.tenant)

    @cached_property
    def proposals(self) -> Proposals:
        return Proposals(self.connection, self.tenant)

    @cached_property
    def receipts(self) -> Receipts:
        return Receipts(self.connection)

    @cached_property
    def recorded(self) -> DecisionLog:
        return DecisionLog(self.connection)

    @cached_property
    def runs(self) -> RunRows:
        return RunRows(self.connection, self.tenant)

    @cached_property
    def standing_grants(self) -> StandingGrants:
        return StandingGrants(self.connection, self.tenant)

    @cached_property
    def shadows(self) -> Shadows:
        return Shadows(self.connection)

    @cached_property
    def usage(self) -> UsageRows:
        return UsageRows(self.connection, self.tenant)
