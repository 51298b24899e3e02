"""One transaction of one tenant, and the repositories in it."""

from dataclasses import dataclass
from functools import cached_property

from sqlalchemy.ext.asyncio import AsyncConnection

from somagent.store.accounts import Accounts
from somagent.store.applications import Applications
from somagent.store.approvals import Approvals
from somagent.store.audit import Audit
from somagent.store.capsules import Capsules
from somagent.store.content import Artifacts, Contents
from somagent.store.deciders import Deciders
from somagent.store.decision_log import Recorded, Shadows
from somagent.store.delegations import Delegations
from somagent.store.deliveries import Deliveries
from somagent.store.forecasts import Forecasts
from somagent.store.outbox import Events
from somagent.store.principals import Principals
from somagent.store.proposals import Proposals
from somagent.store.receipts import Receipts
from somagent.store.retention import Retentions
from somagent.store.runs import RunRows
from somagent.store.standing import StandingGrants
from somagent.store.usage import UsageRows


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
    def deciders(self) -> Deciders:
        return Deciders(self.connection)

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
    def recorded(self) -> Recorded:
        return Recorded(self.connection)

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
