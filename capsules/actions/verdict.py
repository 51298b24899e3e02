"""What the constitution says of an action, and why. Scores are whole parts per million."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, computed_field

from capsules.budgets.amounts import Amounts
from capsules.digest import Digest

PPM = 1_000_000
"""Scale of scores, weights and features: 1.0 is 1,000,000."""

Decision = Literal["allow", "ask", "deny"]


class Contribution(BaseModel):
    """One feature's part of the score: weight times value."""

    model_config = ConfigDict(frozen=True)

    feature: str
    weight: int = Field(description="In parts per million.")
    value: int = Field(description="φ of the action, in parts per million.")
    points: int = Field(description="weight × value, in parts per million of the score.")


class Demand(BaseModel):
    """So many different people with this capability must approve."""

    model_config = ConfigDict(frozen=True)

    capability: str = "approval:decide"
    quorum: int = Field(1, ge=1, le=20)


class Escalation(BaseModel):
    """From `after_seconds` on, people with this capability may approve in place of those asked first."""

    model_config = ConfigDict(frozen=True)

    after_seconds: int = Field(gt=0)
    capability: str


class Verdict(BaseModel):
    """Allow, ask or deny, always with score, contributions, clauses and a sentence."""

    model_config = ConfigDict(frozen=True)

    decision: Decision
    score: int = Field(description="S(a) in parts per million.")
    threshold: int = Field(description="θ in parts per million.")
    contributions: tuple[Contribution, ...] = ()
    clauses: tuple[str, ...] = Field((), description="Ids of the articles and approval rules that decided.")
    sentence: str = Field(description="Why, for a person.")
    demands: tuple[Demand, ...] = Field((Demand(),), description="ask: what the approvers together must satisfy.")
    escalation: tuple[Escalation, ...] = Field((), description="ask: who may decide later, soonest first.")
    expires_seconds: int = Field(86_400, description="How long an approval of this action may take.")
    sequences: dict[str, str] = Field(
        default_factory=dict, description="State of each sequence after this action, if it takes place."
    )
    constitution: Digest

    @computed_field  # type: ignore[prop-decorator]
    @property
    def margin(self) -> int:
        """By how much the score is above the threshold, in parts per million; negative below."""
        return self.score - self.threshold


class ShadowVerdict(BaseModel):
    """What a shadow constitution would have decided. It decides nothing."""

    model_config = ConfigDict(frozen=True)

    constitution: Digest
    decision: Decision | Literal["failed"]
    score: int | None = None
    sentence: str = ""


class ReceiptRef(BaseModel):
    """Where a decision or outcome stands in its run's chain."""

    model_config = ConfigDict(frozen=True)

    seq: int
    hash: Digest


class Outcome[T](BaseModel):
    """What a governed activity returns. The body fills `value` and `usage`; the gate fills the rest."""

    model_config = ConfigDict(frozen=True)

    value: T
    usage: Amounts = Amounts()
    estimated: bool = Field(False, description="The provider gave no usage; it was counted locally.")
    score: int | None = None
    sentence: str | None = None
    receipt: ReceiptRef | None = None
    left: Amounts | None = Field(None, description="What the run's account has left after settling.")
