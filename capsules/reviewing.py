"""What a review of a constitution works with and finds: read, proved, shown to narrow; decisions of real runs."""

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

from capsules.action import Action, Facts
from capsules.digest import Digest
from capsules.proof import Proof, ProofReport
from capsules.verdict import Verdict

FROZEN = ConfigDict(frozen=True, extra="forbid")


class Checked(BaseModel):
    """A document without a fault. Nothing is proved of it yet."""

    model_config = FROZEN

    kind: str = Field(description="`Constitution` or `Overlay`.")
    name: str
    version: str
    digest: Digest = Field(description="Of the document; for an overlay, of what it makes of its base.")
    articles: int
    approvals: int
    guarantees: int
    reads: tuple[str, ...] = Field(description="Attributes that a decision looks at.")


class Review(BaseModel):
    """Everything that was proved of a constitution. It may be activated when `holds`."""

    model_config = FROZEN

    report: ProofReport
    narrower: Proof | None = Field(None, description="With overlays: that they only narrow what they are laid over.")
    holds: bool


class RecordedDecision(BaseModel):
    """A decision of a real run, whole: what was judged, on what, and how."""

    model_config = FROZEN

    run: str
    seq: int
    at: datetime
    action: Action
    facts: Facts
    verdict: Verdict
