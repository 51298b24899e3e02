"""Unit of work: one transaction of one tenant, and the repositories in it."""

from sqlalchemy.ext.asyncio import AsyncConnection

from somagent.db.repositories.accounts import Accounts
from somagent.db.repositories.applications import Applications
from somagent.db.repositories.approvals import Approvals, EligibleApprovers
from somagent.db.repositories.attestations import Attestations
from somagent.db.repositories.audit import Audit
from somagent.db.repositories.capsules import Capsules
from somagent.db.repositories.content import Artifacts, Contents
from somagent.db.repositories.credentials import ApiKeys, TokenFamilies
from somagent.db.repositories.decision_log import DecisionLog, Receipts, Shadows
from somagent.db.repositories.delegations import Delegations
from somagent.db.repositories.deliveries import Deliveries
from somagent.db.repositories.forecasts import Forecasts
from somagent.db.repositories.outbox import Events
from somagent.db.repositories.principals import Principals
from somagent.db.repositories.proposals import Proposals
from somagent.db.repositories.retention import Retentions
from somagent.db.repositories.runs import RunRows
from somagent.db.repositories.standing_grants import StandingGrants
from somagent.db.repositories.starts import Starts
from somagent.db.repositories.usage import UsageRows
from somagent.identity.tokens import Tokens


class Transaction:
    """The repositories of `tenant` on one connection. Row-level security holds them to the tenant, not our queries."""

    def __init__(self, connection: AsyncConnection, tenant: str, tokens: Tokens) -> None:
        self.connection = connection
        self.tenant = tenant
        self.accounts = Accounts(connection, tenant)
        self.api_keys = ApiKeys(connection, tenant)
        self.applications = Applications(connection, tenant)
        self.approvals = Approvals(connection, tenant)
        self.artifacts = Artifacts(connection, tenant)
        self.attestations = Attestations(connection, tenant)
        self.audit = Audit(connection, tenant)
        self.capsules = Capsules(connection, tenant)
        self.contents = Contents(connection, tenant)
        self.decision_log = DecisionLog(connection, tenant)
        self.delegations = Delegations(connection, tenant, tokens)
        self.deliveries = Deliveries(connection, tenant)
        self.eligible_approvers = EligibleApprovers(connection, tenant, tokens)
        self.events = Events(connection, tenant)
        self.forecasts = Forecasts(connection, tenant)
        self.principals = Principals(connection, tenant)
        self.proposals = Proposals(connection, tenant)
        self.receipts = Receipts(connection, tenant)
        self.retention = Retentions(connection, tenant)
        self.runs = RunRows(connection, tenant)
        self.shadows = Shadows(connection, tenant)
        self.standing_grants = StandingGrants(connection, tenant)
        self.starts = Starts(connection, tenant)
        self.token_families = TokenFamilies(connection, tenant)
        self.usage = UsageRows(connection, tenant)
