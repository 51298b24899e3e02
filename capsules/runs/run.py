"""Runs: payloads of the run workflows, records of runs and artifacts, and the ports of admission and closing."""

from datetime import datetime
from typing import Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field

from capsules.actions.ledger_messages import AttemptKey
from capsules.approvals.approval import ApprovalRequest
from capsules.base_model import FrozenModel, StrictModel
from capsules.budgets.account import Account
from capsules.budgets.amounts import Amounts
from capsules.digest import Digest
from capsules.identity.authority import Authority
from capsules.models.chat import Message, TranscriptHead
from capsules.runs.lock import Lock
from capsules.tools.tool import ToolRequest

RunStatus = Literal[
    "starting",
    "running",
    "paused",
    "awaiting_approval",
    "awaiting_budget",
    "completed",
    "failed",
    "cancelled",
]
TERMINAL: frozenset[str] = frozenset({"completed", "failed", "cancelled"})


class RunStart(StrictModel):
    """Input of both workflows. The run's id is the workflow id."""

    tenant: str
    capsule: str = Field(description="`name@version`.")
    digest: Digest
    inputs: dict[str, Any] = Field(default_factory=dict)
    authority: str = Field(description="Authority token: a start's, or the parent run's.")
    budget: Amounts | None = Field(None, description="Unset: the capsule's own.")
    parent: str | None = None
    carried: "RunState | None" = Field(None, description="State carried over by continue-as-new.")


class Admission(StrictModel):
    """Result of the activity `capsule.start`: the run may go on, as this."""

    lock: Lock
    authority: str
    account: str
    limit: Amounts


class StartCapsule(StrictModel):
    """Input of the activity `capsule.start`."""

    capsule: str
    digest: Digest
    inputs: Digest = Field(description="Of the run's inputs: the receipt covers them without repeating them.")
    input_length: int = Field(0, ge=0, description="Characters of the inputs as canonical JSON, for the forecast.")
    budget: Amounts | None = None
    parent: str | None = None


class InboxMessage(StrictModel):
    """Payload of the Update and Signal `message`: a person's words to a running persona."""

    id: str = Field(min_length=1, max_length=100, description="The same id twice is one message.")
    text: str = Field(min_length=1, max_length=8000)
    sender: str = ""


class Control(StrictModel):
    """Payload of `pause`, `resume` and `cancel`."""

    reason: str = Field("", max_length=500)


class StepRecord(BaseModel):
    """Summary of one step."""

    model_config = ConfigDict(extra="forbid")

    id: str
    did: str
    preview: str = ""
    score: int | None = None


class RunState(BaseModel):
    """All state of a run; continue-as-new passes it on whole."""

    model_config = ConfigDict(extra="forbid")

    status: RunStatus = "starting"
    reason: str = ""
    admission: Admission | None = None
    step: int = 0
    outputs: dict[str, Any] = Field(default_factory=dict, description="Step or task id to what expressions see of it.")
    transcript: TranscriptHead | None = None
    pending: list[Message] = Field(default_factory=list, description="Messages for the next model call.")
    recent: list[StepRecord] = Field(default_factory=list, description="The last twenty steps, for people.")
    seen_actions: list[Digest] = Field(
        default_factory=list, description="The last actions chosen, to detect a lack of progress."
    )
    revisions: int = 0
    inbox: list[InboxMessage] = Field(default_factory=list)
    message_ids: list[str] = Field(default_factory=list, description="The last 500 message ids, for deduplication.")
    approvals: dict[str, ApprovalRequest] = Field(default_factory=dict, description="Pending ones, by id.")
    decided: dict[str, str] = Field(default_factory=dict, description="Approval id to approved, denied or edited.")
    asked: dict[str, ToolRequest] = Field(
        default_factory=dict, description="Approval id to the call that waits for it."
    )
    edited: dict[str, ToolRequest] = Field(default_factory=dict, description="Approval id to the call as edited.")
    paused: bool = False
    cancel_requested: bool = False
    raises: int = Field(0, description="Number of budget raises of this run so far.")
    spent: Amounts = Amounts()
    left: Amounts | None = None
    pressure: int = Field(0, description="The greatest threshold that is spent of a limit: 0, 50, 80 or 100 per cent.")
    pressed: bool = Field(
        False, description="Whether the run is paused by a budget threshold; a budget raise resumes it."
    )
    cheaper: str | None = Field(
        None, description="Model role that a budget threshold set in place of the step's own; None before."
    )
    halvings: int = Field(0, description="How many times budget thresholds have halved the maximum length of a reply.")
    started_at: float | None = None
    waited: float = Field(0.0, description="Seconds spent waiting for people: not on the wall clock's account.")


class RunReport(StrictModel):
    """Result of both workflows."""

    run: str
    status: RunStatus
    reason: str = ""
    output: Any = None
    artifact: Digest | None = None
    spent: Amounts = Amounts()
    steps: int = 0
    receipts: int = Field(0, description="Length of the run's receipt chain.")
    head: Digest | None = Field(None, description="Hash of the last receipt.")


class RunView(StrictModel):
    """Answer of the query `state`: what a person wants to know, without payloads."""

    status: RunStatus
    reason: str
    step: int
    max_steps: int
    spent: Amounts
    left: Amounts | None
    pressure: int = Field(0, description="The greatest threshold that is spent of a limit: 0, 50, 80 or 100 per cent.")
    messages: int = Field(0, description="Messages received, each id once.")
    approvals: tuple[ApprovalRequest, ...]
    recent: tuple[StepRecord, ...]


class ArtifactDraft(StrictModel):
    """Input of the activity `artifact.publish`."""

    name: str = Field(max_length=200)
    media_type: str = "application/json"
    content: Any = Field(description="JSON value, or text for a text media type.")


class Artifact(StrictModel):
    name: str
    media_type: str
    digest: Digest
    size: int


class ArtifactRecord(FrozenModel):
    run: str
    name: str
    media_type: str
    digest: Digest
    size: int
    created_at: datetime


class Verify(StrictModel):
    """Input of the platform activity `deliverable.verify`. The run's lock has the schema and the conditions."""

    model_config = ConfigDict(extra="ignore")  # older payloads hold schema and conditions too

    output: Any
    inputs: dict[str, Any]


class Verification(StrictModel):
    problems: tuple[str, ...] = ()


class RunUpdate(StrictModel):
    """Input of the platform activity `run.record`: the projection's row follows the workflow's state."""

    run: str
    tenant: str
    status: RunStatus
    reason: str = ""
    step: int = 0
    note: str = ""


class CloseRun(StrictModel):
    """Input of the platform activity `run.close`: settle the account, give the rest back, write the last receipt."""

    run: str
    tenant: str
    status: RunStatus
    reason: str = ""
    step: int = 0
    output: Any = None
    artifact: Digest | None = None
    seconds: int | None = Field(None, ge=0, description="How long it worked; unset when unknown.")


class CloseRunResult(StrictModel):
    spent: Amounts
    receipts: int
    head: Digest


class NewRun(FrozenModel):
    """A run that the API accepts; a schedule's runs are entered by the ledger when they reach the gate."""

    id: str
    capsule: str
    digest: Digest
    actor: str
    inputs: dict[str, Any] = Field(default_factory=dict)
    request: Digest = Field(description="Digest of the request: the same key with another body is a conflict.")
    parent: str | None = None


class RunRecord(FrozenModel):
    """A run as lists and pages show it."""

    id: str
    tenant: str
    capsule: str
    digest: Digest | None = None
    actor: str
    parent: str | None = None
    status: RunStatus
    reason: str = ""
    step: int = 0
    inputs: dict[str, Any] = Field(default_factory=dict)
    output: Any = None
    artifact: Digest | None = None
    account: str | None = None
    spent: Amounts = Amounts()
    created_at: datetime
    updated_at: datetime
    closed_at: datetime | None = None
    pruned_at: datetime | None = Field(None, description="When its inputs, output and artifacts were deleted.")


class StartClaims(Protocol):
    """Claims starts of runs: each for one chain of executions. Idempotent by execution."""

    async def claim(self, request: StartCapsule, key: AttemptKey, authority: Authority, lock: Lock | None) -> str:
        """Return the id of the first execution of the chain. lock: of the parent, for a child run.

        Raises AuthorityRefused when the start is not the one that the authority is for, or was used or revoked.
        """
        ...


class Admissions(Protocol):
    """Admits a run: lock, account, authority. Idempotent by run."""

    async def admit(self, request: StartCapsule, *, run: str, execution: str, authority: Authority) -> Admission:
        """Admit a run. execution: the first execution of its workflow, to which the run's authority is bound."""
        ...


class Runs(Protocol):
    """The projection of runs, and their closing."""

    async def record(self, update: RunUpdate) -> None: ...

    async def close(self, closing: CloseRun) -> CloseRunResult:
        """End the run: account settled and returned to its parent, row and event written. Idempotent."""
        ...

    async def account(self, run: str, tenant: str) -> Account:
        """Return the run's account. Raises NotFound before the run was admitted."""
        ...
