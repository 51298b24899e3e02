"""How a constitution becomes the active one: the proposal, what each step finds, and who agreed."""

from collections.abc import Callable
from datetime import datetime
from typing import Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field

from capsules.constitutions.proof import Difference, Proof, ProofReport
from capsules.digest import Digest, digest

FROZEN = ConfigDict(frozen=True, extra="forbid")

EVERYBODY = "*"
"""The scope of every tenant that has no constitution of its own."""

Stage = Literal["active", "shadow"]
Reason = Literal["activate", "canary", "promote", "rollback", "shadow"]
ProposalState = Literal[
    "examining", "proving", "comparing", "awaiting_approval", "approved", "activated", "refused", "rejected", "expired"
]
SETTLED: frozenset[str] = frozenset({"activated", "refused", "rejected", "expired"})


class Change(BaseModel):
    """What is to become active, where, and why. Tokens of those who propose and decide are bound to its digest."""

    model_config = FROZEN

    constitution: Digest | None = Field(None, description="None: the scope follows everybody's again.")
    scope: str = Field(description="`*` or a tenant.")
    stage: Stage = "active"
    reason: Reason = "activate"
    narrows: bool = Field(True, description="Must be proved to allow nothing that everybody's constitution does not.")
    overlaid: bool = Field(False, description="Made of everybody's constitution and overlays.")
    clears: str | None = Field(None, description="promote: the tenant that from then on follows everybody's again.")

    def digest(self) -> Digest:
        return digest(self)


class Proposal(BaseModel):
    """Input of the workflow `ActivateConstitution`; the token says who proposes it."""

    model_config = FROZEN

    tenant: str = Field(description="Of the proposer.")
    id: str
    change: Change
    proposed_by: str
    quorum: int = Field(ge=0, le=20, description="0 for a shadow, which decides nothing.")
    expires_seconds: int = Field(gt=0)
    token: str


class ActivationStep(BaseModel):
    """Input of each step: which proposal. Everything else is in the store."""

    model_config = FROZEN

    tenant: str
    id: str


class Examination(BaseModel):
    """The document is what was signed, by enough keys, and newer than what it replaces."""

    model_config = FROZEN

    against: Digest | None = Field(description="What is active in that scope now.")
    keys: tuple[str, ...] = ()


class Findings(BaseModel):
    """What proofs and comparison showed; `problem` is why the change may not go on."""

    model_config = FROZEN

    problem: str | None = None


class Vote(BaseModel):
    """Payload of the Updates `approve` and `reject`. Who speaks is in the token; the body names nobody."""

    model_config = FROZEN

    change: Digest
    comment: str = Field("", max_length=2000)
    token: str


class CastVote(BaseModel):
    """Input of the activity that records a consent or a rejection."""

    model_config = FROZEN

    step: ActivationStep
    consent: Vote
    approve: bool


class VoteResult(BaseModel):
    """How a proposal stands after somebody spoke. With a `problem` nothing was recorded."""

    model_config = FROZEN

    state: ProposalState
    approved_by: tuple[str, ...] = ()
    missing: int = 0
    problem: str | None = None


class Conclusion(BaseModel):
    """Input of the activity that ends a proposal without activating it."""

    model_config = FROZEN

    step: ActivationStep
    state: Literal["refused", "expired"]
    why: str


class Mirrored(BaseModel):
    """What SomaBrain made of the change."""

    model_config = FROZEN

    status: Literal["off", "in step", "unsupported", "failed"]
    detail: str = ""


class ProposalView(BaseModel):
    """The workflow's answer to the query `state`, and its result."""

    model_config = FROZEN

    id: str
    state: ProposalState
    why: str = ""
    change: Change
    approved_by: tuple[str, ...] = ()
    missing: int = 0


class ActivationRecord(BaseModel):
    """A proposal as the store has it: state, proofs, difference, who agreed and who is missing."""

    model_config = ConfigDict(frozen=True)

    id: str
    tenant: str
    constitution: Digest | None
    scope: str
    stage: Stage
    reason: Reason
    change: Digest
    narrows: bool = Field(True, description="Must be proved to allow nothing that everybody's does not.")
    clears: str | None = None
    against: Digest | None = None
    state: ProposalState
    why: str = ""
    proposed_by: str
    proposed_at: datetime
    expires_at: datetime
    updated_at: datetime
    quorum: int
    approved_by: tuple[str, ...] = ()
    missing: int = Field(0, description="So many different people must still approve.")
    rejected_by: str | None = None
    comments: dict[str, str] = Field(default_factory=dict, description="By who spoke.")
    keys: tuple[str, ...] = Field((), description="Keys whose signatures counted.")
    report: ProofReport | None = None
    narrower: Proof | None = None
    difference: Difference | None = None
    somabrain: Mirrored | None = None


class ActiveConstitution(BaseModel):
    """A line of the history of what was active."""

    model_config = ConfigDict(frozen=True)

    id: int
    scope: str
    stage: Stage
    constitution: Digest | None
    reason: str
    by: str
    at: datetime
    proposal: str | None = None


class ShadowCount(BaseModel):
    """Decisions that the active constitution made one way and the shadow would have made another, or the same."""

    model_config = ConfigDict(frozen=True)

    before: str
    after: str = Field(description="`failed`: the shadow could not be asked.")
    count: int
    run: str = Field(description="Where it happened first.")
    seq: int
    at: datetime
    action: dict[str, Any]


class ShadowReport(BaseModel):
    """What a shadow constitution would have decided, beside what was decided."""

    model_config = ConfigDict(frozen=True)

    constitution: Digest | None = Field(description="None: there is no shadow for this tenant.")
    scope: str | None = None
    judged: int = 0
    same: int = 0
    differing: int = 0
    failed: int = 0
    counts: tuple[ShadowCount, ...] = ()


class ConstitutionSteps(Protocol):
    """The steps by which a constitution becomes the active one. Each is written down; each may run again."""

    async def examine(self, run: str, proposal: Proposal) -> Examination:
        """Check who proposes, the signatures, and that it is no older version. Raises Denied, ConstitutionRefused."""
        ...

    async def prove(self, step: ActivationStep, *, alive: Callable[[], None]) -> Findings:
        """Prove. Calls `alive` every few seconds, and so do the others that take long."""
        ...

    async def compare(self, step: ActivationStep, *, alive: Callable[[], None]) -> Findings: ...

    async def record_vote(self, run: str, voice: CastVote) -> VoteResult: ...

    async def activate(self, step: ActivationStep) -> None:
        """Make it active. Raises Conflict when another one became active since it was examined."""
        ...

    async def mirror(self, step: ActivationStep, *, alive: Callable[[], None]) -> Mirrored: ...

    async def conclude(self, conclusion: Conclusion) -> None: ...
