"""Messages between gate and ledger: facts, the begin of an effect and its end; and the ledger port."""

from typing import Any, Literal, Protocol

from pydantic import Field

from capsules.actions.action import Action, ActionKind, Facts
from capsules.actions.verdict import ReceiptRef, ShadowVerdict, Verdict
from capsules.approvals.approval import ApprovalRequest
from capsules.base_model import FrozenModel
from capsules.budgets.account import Account, RateBound, RateRefusal
from capsules.budgets.amounts import Amounts
from capsules.digest import Digest


def tenant_of(workflow: str) -> str:
    """Return the tenant of a workflow: the first part of its id."""
    return workflow.partition("/")[0]


class AttemptKey(FrozenModel):
    """Identifies one attempt of an activity. `effect`, without the attempt, is the idempotency key."""

    tenant: str
    run: str = Field(description="Workflow id.")
    execution: str = Field(description="Workflow run id; activity ids start anew after continue-as-new.")
    activity: str
    attempt: int

    @property
    def effect(self) -> str:
        return f"{self.run}/{self.execution}/{self.activity}"


class Tally(FrozenModel):
    """A count, and how many of it were bad."""

    of: int = 0
    bad: int = 0


class HistoryQuery(FrozenModel):
    """The parts of the past that a constitution reads; the others are not queried."""

    actor: str | None = None
    target: str | None = None
    kind: ActionKind | None = None


class History(FrozenModel):
    """The past of actor and target, as counts."""

    decisions: Tally = Field(Tally(), description="In the actor's last runs; denials are bad.")
    uses: Tally = Field(Tally(), description="Of the target; those that did not succeed are bad.")


class OpenGrant(FrozenModel):
    """An open standing grant. Its scope is an expression over `action`."""

    id: str
    scope: str
    capability: str = Field(description="The capability that the grant stands for; it meets no demand for another one.")
    granted_by: str


class LedgerFacts(FrozenModel):
    """The facts of the database when an action is evaluated."""

    account: Account | None = Field(None, description="None before admission.")
    rates: tuple[RateBound, ...] = Field((), description="Of the tenant and the project that the account lies in.")
    denials: int = 0
    parent: str | None = Field(None, description="The run of which this one is a child.")
    constitution: Literal["valid", "revoked", "unknown"]
    shadow: Digest | None = Field(None, description="Constitution that is evaluated beside the active one.")
    sequences: dict[str, str] = Field(default_factory=dict, description="State of each sequence of the run.")
    history: History = Field(History(), description="The parts that the query names.")
    open_grants: tuple[OpenGrant, ...] = Field(
        (),
        alias="standing",
        description="Open standing grants of the tenant, proved under this constitution; soonest to expire first.",
    )


class BeginEffect(FrozenModel):
    """Asks the ledger to let an effect begin: receipt, grant and reservation in one transaction."""

    key: AttemptKey
    capsule: str = Field(description="`name@version`, for the run's row when a schedule started it.")
    actor: str
    action: Action
    action_digest: Digest
    facts: Facts = Field(description="Facts of the verdict; recorded, so that the action can be evaluated again.")
    verdict: Verdict
    shadow: ShadowVerdict | None = None
    account: str | None
    rate_refusal: RateRefusal | None = Field(None, description="Set when a rate limit does not let it begin now.")
    matching_grants: tuple[str, ...] = Field((), description="Ids of standing grants that match, in the order to try.")
    call_arguments: Digest | None = Field(None, description="Of a tool call that is asked about: its arguments.")


class BeginEffectResult(FrozenModel):
    """The ledger's answer."""

    status: Literal["go", "replay", "denied", "ask", "exhausted", "slow", "revoked", "stale"] = Field(
        description="stale: another action of the run came in between; read the facts and evaluate again."
    )
    receipt: ReceiptRef | None = None
    result: Any = Field(None, description="`replay`: what the effect returned, from the attempt that completed.")
    approval: ApprovalRequest | None = Field(None, description="ask: what waits for a person.")
    left: Amounts | None = Field(None, description="exhausted: what the account has left.")
    sentence: str = ""


class FinishEffect(FrozenModel):
    """Tells the ledger how an effect ended: settle, record, keep the result for a retry."""

    key: AttemptKey
    ok: bool
    usage: Amounts
    estimated: bool = False
    result: Any = None
    error: str = Field("", description="Code and message of a failure.")


class FinishEffectResult(FrozenModel):
    receipt: ReceiptRef
    left: Amounts | None = None


class Ledger(Protocol):
    """Grants, budgets and receipts, in one transaction before an effect and one after it."""

    async def facts(
        self, tenant: str, run: str, account: str | None, constitution: Digest, history: HistoryQuery | None = None
    ) -> LedgerFacts: ...

    async def active_constitution(self, tenant: str) -> Digest:
        """Return the digest of the active constitution. Raises ConstitutionRefused when there is none."""
        ...

    async def begin(self, request: BeginEffect) -> BeginEffectResult: ...

    async def finish(self, outcome: FinishEffect) -> FinishEffectResult: ...
