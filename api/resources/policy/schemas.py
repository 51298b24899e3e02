"""Request and response bodies of the policy routes."""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Self

from pydantic import AwareDatetime, Field, model_validator
from pydantic.config import JsonDict

from api.parameters import DIGEST, RECORD_ID, REFERENCE, RUN_ID
from capsules.actions.action import Action, Autonomy, Facts, ForecastRange, Share
from capsules.actions.verdict import Verdict
from capsules.base_model import FrozenModel, StrictModel
from capsules.constitutions.proof import Backtest, Explanation, Flip
from capsules.digest import GENESIS, Digest
from capsules.identity.principal import Principal
from capsules.names import ReferenceText
from policy.language.schema import SIGNALS

ConstitutionChoice = Annotated[
    Literal["active"] | Annotated[str, Field(pattern=DIGEST)] | dict[str, Any],
    Field(description="`active`, the digest of an installed constitution, or a document."),
]
OverlayDocuments = Annotated[
    tuple[dict[str, Any], ...], Field(max_length=20, description="Overlays, applied in this order.")
]
ProofSeconds = Annotated[float, Field(gt=0, le=10, description="Time limit for each property, in seconds.")]

StateName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")]


class HypotheticalAction(Action):
    """A hypothetical action. The digest of its arguments may be left out."""

    arguments: Digest = GENESIS

    def as_action(self) -> Action:
        """Return it as an ordinary action."""
        return Action.model_validate(self.model_dump())


class HypotheticalSignals(StrictModel):
    """Detector scores. The defaults are the scores of an action in which no detector finds anything."""

    secrets: Share = 0.0
    pii: Share = 0.0
    injection: Share = 0.0
    trust: Share = 1.0


class HypotheticalFacts(StrictModel):
    """Facts of the platform for a hypothetical action."""

    autonomy: Autonomy = "supervised"
    headroom: Share = 1.0
    denials: int = Field(0, ge=0, le=2**53 - 1)
    standing: Share = 1.0
    forecast: ForecastRange | None = Field(None, description="For `capsule.start`: the forecast of the run.")
    signals: HypotheticalSignals = HypotheticalSignals()
    sequences: dict[StateName, StateName] = Field(default_factory=dict, max_length=16)

    def of(self, caller: Principal) -> Facts:
        """Return the facts of an action of the caller."""
        signals = {name: float(getattr(self.signals, name)) for name in SIGNALS}
        return Facts(
            **self.model_dump(exclude={"signals"}), signals=signals, actor=caller.subject, tenant=caller.tenant
        )


DRY_RUN_SCHEMA: JsonDict = {
    "examples": [
        {"action": {"kind": "tool.invoke", "target": "python@1.0.0/run", "effect": "write"}},
        {"capsule": "log-triage@1"},
    ],
    "oneOf": [{"required": ["action"]}, {"required": ["capsule"]}],
}


class DryRunRequest(StrictModel, json_schema_extra=DRY_RUN_SCHEMA):
    """One action, or every kind of action that a capsule declares."""

    action: HypotheticalAction | None = None
    capsule: ReferenceText | None = Field(None, pattern=REFERENCE, max_length=160)
    facts: HypotheticalFacts = HypotheticalFacts()

    @model_validator(mode="after")
    def _one_subject(self) -> Self:
        if (self.action is None) == (self.capsule is None):
            raise ValueError("a dry run has either `action` or `capsule`")
        return self


class DryRunVerdict(FrozenModel):
    """An action with its verdict."""

    action: Action
    verdict: Verdict
    explanation: Explanation | None = Field(None, description="Set when the verdict is not `allow`.")


class DryRunResponse(FrozenModel):
    """Verdicts of the constitution in force. A dry run has no effect."""

    constitution: Digest
    judged: tuple[DryRunVerdict, ...]


EARLIEST, LATEST = datetime(2000, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)
EXPLANATION_SCHEMA: JsonDict = {
    "examples": [{"action": {"kind": "tool.invoke", "target": "python@1.0.0/run", "data": "secret"}}],
    "oneOf": [{"required": ["action"]}, {"required": ["approval"]}, {"required": ["run", "seq"]}],
}


class ExplanationRequest(StrictModel, json_schema_extra=EXPLANATION_SCHEMA):
    """A hypothetical action, a waiting approval, or a decision of a run, given by its receipt."""

    constitution: ConstitutionChoice = "active"
    action: HypotheticalAction | None = None
    facts: HypotheticalFacts = HypotheticalFacts()
    approval: str | None = Field(None, pattern=RECORD_ID)
    run: str | None = Field(None, max_length=255, pattern=RUN_ID)
    seq: int | None = Field(None, ge=1, le=2**53 - 1, description="Number of the decision's receipt in the run.")

    @model_validator(mode="after")
    def _one_subject(self) -> Self:
        if (self.run is None) != (self.seq is None):
            raise ValueError("`run` and `seq` go together")
        if (self.action is not None) + (self.approval is not None) + (self.run is not None) != 1:
            raise ValueError("an explanation is of one `action`, one `approval`, or one `run` and `seq`")
        return self


class BacktestRequest(StrictModel, json_schema_extra={"examples": [{"candidate": "active", "runs": 100}]}):
    """A candidate constitution, and the runs whose actions are evaluated under it."""

    candidate: ConstitutionChoice
    overlays: OverlayDocuments = ()
    runs: int = Field(200, ge=1, le=10_000, description="Maximum number of runs, newest first.")
    since: AwareDatetime | None = Field(
        None,
        ge=EARLIEST,
        le=LATEST,
        description="Only runs that began then or later. Needs an offset from UTC.",
    )


class LinkedFlip(Flip):
    """A flip with links to its run."""

    link: str = Field(description="Path of the run.")
    receipts: str = Field(description="Path of the run's receipts from this decision on.")


class BacktestResponse(Backtest):
    """The result of a backtest, with links."""

    flips: tuple[LinkedFlip, ...] = Field(description="The first flip of each run, newest run first.")


class ProofRequest(StrictModel, json_schema_extra={"examples": [{"constitution": "active"}]}):
    """A constitution to prove, with overlays."""

    constitution: ConstitutionChoice = "active"
    overlays: OverlayDocuments = ()
    seconds: ProofSeconds = 5.0


class ComparisonRequest(StrictModel, json_schema_extra={"examples": [{"old": "active", "new": "active"}]}):
    """Two constitutions to compare. The overlays are applied to the new one."""

    old: ConstitutionChoice = "active"
    new: ConstitutionChoice
    overlays: OverlayDocuments = ()
    seconds: ProofSeconds = 5.0
