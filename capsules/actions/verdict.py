"""Verdict: the decision about an action with its reasons. Scores are whole parts per million."""

from typing import Literal

from pydantic import Field, computed_field

from capsules.base_model import FrozenModel
from capsules.budgets.amounts import Amounts
from capsules.digest import Digest

PPM = 1_000_000
"""Scale of scores, weights and features: 1.0 is 1,000,000."""

Decision = Literal["allow", "ask", "deny"]


class Contribution(FrozenModel):
    """One feature's part of the score: weight times value."""

    feature: str
    weight: int = Field(description="In parts per million.")
    value: int = Field(description="φ of the action, in parts per million.")
    points: int = Field(description="weight × value, in parts per million of the score.")


class Demand(FrozenModel):
    """A number of different people with this capability must approve."""

    capability: str = "approval:decide"
    quorum: int = Field(1, ge=1, le=20)


class Escalation(FrozenModel):
    """From `after_seconds` on, people with this capability may approve in place of those asked first."""

    after_seconds: int = Field(gt=0)
    capability: str


class Verdict(FrozenModel):
    """Allow, ask or deny, always with score, contributions, clauses and a sentence."""

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


class ShadowVerdict(FrozenModel):
    """The verdict of a shadow constitution. It decides nothing."""

    constitution: Digest
    decision: Decision | Literal["failed"]
    score: int | None = None
    sentence: str = ""


class ReceiptRef(FrozenModel):
    """Sequence number and hash of a receipt."""

    seq: int
    hash: Digest


class Outcome[T](FrozenModel):
    """Result of a governed activity. The body fills `value` and `usage`; the gate fills the rest."""

    value: T
    usage: Amounts = Amounts()
    estimated: bool = Field(False, description="The provider gave no usage; it was counted locally.")
    score: int | None = None
    sentence: str | None = None
    receipt: ReceiptRef | None = None
    effect: str | None = Field(None, description="`AttemptKey.effect`: which effect this is the outcome of.")
    left: Amounts | None = Field(None, description="What the run's account has left after settling.")


class Acknowledgement(FrozenModel):
    """Result of a platform activity that returns nothing: only a worker can write it, unlike no result."""

    effect: str = Field(description="`AttemptKey.effect` of the call.")
