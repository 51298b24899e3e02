"""Proposals: the messages of the workflow that activates a constitution, its records, and the port of its steps."""

from collections.abc import Callable
from datetime import datetime
from typing import Any, Literal, Protocol

from pydantic import ConfigDict, Field

from capsules.base_model import AttestedModel, FrozenModel, StrictModel
from capsules.constitutions.proof import Difference, Proof, ProofReport
from capsules.digest import Digest, digest

EVERYBODY = "*"
"""The scope of every tenant that has no constitution of its own."""

Stage = Literal["active", "shadow"]
ActivationReason = Literal["activate", "canary", "promote", "rollback", "shadow"]
ProposalState = Literal[
    "examining", "proving", "comparing", "awaiting_approval", "approved", "activated", "refused", "rejected", "expired"
]
SETTLED: frozenset[str] = frozenset({"activated", "refused", "rejected", "expired"})

STEPS = frozenset(
    {
        "constitution.examine",
        "constitution.prove",
        "constitution.compare",
        "constitution.record_vote",
        "constitution.activate",
        "constitution.mirror",
        "constitution.conclude",
    }
)
"""The only activities that `ActivateConstitution` may call."""


def workflow_id(tenant: str, proposal: str) -> str:
    """Return the id of a proposal's workflow. No run has it, because no capsule's name begins with an underscore."""
    return f"{tenant}/_constitution/{proposal}"


class Change(StrictModel):
    """The proposed change: constitution, scope and reason. Tokens of proposer and approvers are bound to its digest."""

    constitution: Digest | None = Field(None, description="None: the scope follows everybody's again.")
    scope: str = Field(description="`*` or a tenant.")
    stage: Stage = "active"
    reason: ActivationReason = "activate"
    narrows: bool = Field(True, description="Must be proved to allow nothing that everybody's constitution does not.")
    overlaid: bool = Field(False, description="Made of everybody's constitution and overlays.")
    clears: str | None = Field(None, description="promote: the tenant that from then on follows everybody's again.")

    def digest(self) -> Digest:
        return digest(self)


class Proposal(StrictModel):
    """Input of the workflow `ActivateConstitution`; the token says who proposes it."""

    tenant: str = Field(description="Of the proposer.")
    id: str
    change: Change
    proposed_by: str
    quorum: int = Field(ge=0, le=20, description="0 for a shadow, which decides nothing.")
    expires_seconds: int = Field(gt=0)
    token: str
    authority: str = Field("", description="Platform authority of this workflow, from the API.")


class ActivationStep(StrictModel):
    """Input of each step: which proposal. Everything else is in the database."""

    tenant: str
    id: str


class Examination(StrictModel):
    """Result of the examination: the document is signed by enough keys and newer than the one it replaces."""

    against: Digest | None = Field(description="What is active in that scope now.")
    keys: tuple[str, ...] = ()


class Findings(StrictModel):
    """Result of proving or comparing; `problem` says why the proposal is refused."""

    problem: str | None = None


class Vote(AttestedModel):
    """Payload of the Updates `approve` and `reject`. The token says who votes."""

    change: Digest
    comment: str = Field("", max_length=2000)
    token: str


class CastVote(StrictModel):
    """Input of the activity that records a vote."""

    model_config = ConfigDict(populate_by_name=True)

    step: ActivationStep
    vote: Vote = Field(alias="consent")
    approve: bool


class VoteResult(StrictModel):
    """State of a proposal after a vote. With a `problem`, the vote was not recorded."""

    state: ProposalState
    approved_by: tuple[str, ...] = ()
    missing: int = 0
    problem: str | None = None


class Conclusion(StrictModel):
    """Input of the activity that ends a proposal without activating it."""

    step: ActivationStep
    state: Literal["refused", "expired"]
    why: str


class MirrorResult(StrictModel):
    """Result of copying the change to SomaBrain."""

    status: Literal["off", "in step", "unsupported", "failed"]
    detail: str = ""


class ProposalView(StrictModel):
    """The workflow's answer to the query `state`, and its result."""

    id: str
    state: ProposalState
    why: str = ""
    change: Change
    approved_by: tuple[str, ...] = ()
    missing: int = 0


class ActivationRecord(FrozenModel):
    """A proposal as the database has it: state, proofs, difference and votes."""

    id: str
    tenant: str
    constitution: Digest | None
    scope: str
    stage: Stage
    reason: ActivationReason
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
    comments: dict[str, str] = Field(default_factory=dict, description="By voter.")
    keys: tuple[str, ...] = Field((), description="Keys whose signatures counted.")
    report: ProofReport | None = None
    narrower: Proof | None = None
    difference: Difference | None = None
    somabrain: MirrorResult | None = None


class ActiveConstitution(FrozenModel):
    """One entry of the history of active constitutions."""

    id: int
    scope: str
    stage: Stage
    constitution: Digest | None
    reason: str
    by: str
    at: datetime
    proposal: str | None = None


class ShadowCount(FrozenModel):
    """Decisions that the active constitution made as `before` and the shadow as `after`, counted."""

    before: str
    after: str = Field(description="`failed`: the shadow could not be evaluated.")
    count: int
    run: str = Field(description="Where it happened first.")
    seq: int
    at: datetime
    action: dict[str, Any]


class ShadowReport(FrozenModel):
    """Comparison of a shadow constitution's decisions with the real ones."""

    constitution: Digest | None = Field(description="None: there is no shadow for this tenant.")
    scope: str | None = None
    judged: int = 0
    same: int = 0
    differing: int = 0
    failed: int = 0
    counts: tuple[ShadowCount, ...] = ()


class ConstitutionSteps(Protocol):
    """Port of the steps of an activation. Each step records its result and may run again."""

    async def examine(self, run: str, proposal: Proposal) -> Examination:
        """Check proposer, signatures and version. Raises Denied, or ConstitutionRefused for an older version."""
        ...

    async def prove(self, step: ActivationStep, *, alive: Callable[[], None]) -> Findings:
        """Prove what activation needs. Long steps call `alive` every few seconds."""
        ...

    async def compare(self, step: ActivationStep, *, alive: Callable[[], None]) -> Findings: ...

    async def record_vote(self, run: str, cast: CastVote) -> VoteResult: ...

    async def activate(self, step: ActivationStep) -> None:
        """Make it active. Raises Conflict when another one became active after the examination."""
        ...

    async def mirror(self, step: ActivationStep, *, alive: Callable[[], None]) -> MirrorResult: ...

    async def conclude(self, conclusion: Conclusion) -> None: ...
