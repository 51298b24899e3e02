"""What the gate and the ledger say to each other: one entry before an effect, one exit after it."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from capsules.action import Action, Facts
from capsules.amounts import Account, Amounts
from capsules.approval import ApprovalRequest
from capsules.digest import Digest
from capsules.verdict import ReceiptRef, Verdict

FROZEN = ConfigDict(frozen=True)


class AttemptKey(BaseModel):
    """Which attempt of which activity: the idempotency key of an effect is all but the attempt."""

    model_config = FROZEN

    tenant: str
    run: str = Field(description="Workflow id.")
    execution: str = Field(description="Workflow run id; activity ids start anew after continue-as-new.")
    activity: str
    attempt: int

    @property
    def effect(self) -> str:
        return f"{self.run}/{self.execution}/{self.activity}"


class LedgerFacts(BaseModel):
    """What the store knows when an action is judged."""

    model_config = FROZEN

    account: Account | None = Field(None, description="None before admission.")
    denials: int = 0
    constitution: Literal["valid", "revoked", "unknown"]
    sequences: dict[str, str] = Field(default_factory=dict, description="State of each sequence of the run.")


class Entry(BaseModel):
    """Asks the ledger to let an effect begin: receipt, grant and reservation in one transaction."""

    model_config = FROZEN

    key: AttemptKey
    capsule: str = Field(description="`name@version`, for the run's row when a schedule started it.")
    actor: str
    action: Action
    action_digest: Digest
    facts: Facts = Field(description="What the verdict was given on; recorded, so that it can be judged again.")
    verdict: Verdict
    account: str | None


class Passage(BaseModel):
    """The ledger's answer."""

    model_config = FROZEN

    status: Literal["go", "replay", "denied", "ask", "exhausted", "revoked"]
    receipt: ReceiptRef | None = None
    result: Any = Field(None, description="replay: what the effect returned, from the attempt that completed.")
    approval: ApprovalRequest | None = Field(None, description="ask: what waits for a person.")
    left: Amounts | None = Field(None, description="exhausted: what the account has left.")
    sentence: str = ""


class Exit(BaseModel):
    """Tells the ledger how an effect ended: settle, record, keep the result for a retry."""

    model_config = FROZEN

    key: AttemptKey
    ok: bool
    usage: Amounts
    estimated: bool = False
    result: Any = None
    error: str = Field("", description="Code and message of a failure.")


class Settled(BaseModel):
    model_config = FROZEN

    receipt: ReceiptRef
    left: Amounts | None = None
