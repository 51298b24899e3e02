"""Results of proofs, comparisons, backtests and explanations of constitutions, with the actions that show them."""

from datetime import datetime
from typing import Literal

from pydantic import Field

from capsules.actions.action import Action, Facts
from capsules.actions.verdict import Decision, Verdict
from capsules.base_model import StrictModel
from capsules.digest import Digest

ProofOutcome = Literal["proved", "refuted", "not proved"]


class Witness(StrictModel):
    """A concrete action that shows a claim, with the engine's verdict about it."""

    action: Action
    facts: Facts
    verdict: Verdict


class Proof(StrictModel):
    """Result of the proof of one property of a constitution."""

    guarantee: str = Field(description="Id of the guarantee, or of a property that every constitution must have.")
    outcome: ProofOutcome
    sentence: str = Field(description="What was shown, or why it was not, for a person.")
    witnesses: tuple[Witness, ...] = Field((), description="refuted: the counterexample; two for a flip.")
    seconds: float = 0.0


class ProofReport(StrictModel):
    """Every proof of one constitution. It may be activated when `holds`."""

    constitution: Digest
    proofs: tuple[Proof, ...]
    seconds: float

    @property
    def holds(self) -> bool:
        return all(proof.outcome == "proved" for proof in self.proofs)


class DecisionChange(StrictModel):
    """Actions that one version decides one way and the other another way."""

    before: Decision
    after: Decision
    outcome: Literal["none", "found", "not decided"]
    sentence: str
    action: Action | None = None
    facts: Facts | None = None
    old: Verdict | None = None
    new: Verdict | None = None


class Difference(StrictModel):
    """Difference of two constitutions: all six ways in which a decision can change."""

    old: Digest
    new: Digest
    changes: tuple[DecisionChange, ...]
    seconds: float

    @property
    def same(self) -> bool:
        return all(change.outcome == "none" for change in self.changes)


class RecordedDecision(StrictModel):
    """A decision of a real run, from its receipt: the action, the facts, and the verdict before any approval."""

    run: str
    seq: int
    at: datetime
    action: Action
    facts: Facts
    verdict: Verdict


class Flip(StrictModel):
    """The first action of a run that a candidate would decide differently."""

    run: str
    seq: int
    at: datetime
    action: Action
    before: Decision
    after: Decision
    sentence: str = Field(description="The candidate's reason.")


class Backtest(StrictModel):
    """Result of a backtest. Only the first flip of a run counts: after it, the run could have continued differently."""

    candidate: Digest
    runs: int
    actions: int
    flips: tuple[Flip, ...] = Field(description="The first of each run, newest run first.")
    skipped: int = Field(0, description="Recorded actions without the facts that are needed to evaluate them again.")


class Citation(StrictModel):
    """A clause that forces the decision, and the attributes that make it hold."""

    clause: str = Field(description="Id of an article or approval rule; `threshold`, `ask_from` or `kinds`.")
    attributes: dict[str, str] = Field(
        description="What the clause rests on: change none of these, and it still holds."
    )


class Advice(StrictModel):
    """One change of the action after which it would be allowed."""

    attribute: str
    now: str
    to: str


class Explanation(StrictModel):
    """Why an action is asked or denied, and what would help."""

    verdict: Verdict
    cited: tuple[Citation, ...] = Field((), description="Every clause that forces the decision on its own.")
    advice: tuple[Advice, ...] = Field((), description="The smallest change that a caller can make; empty if none.")
    advised: Witness | None = Field(None, description="The action after the advice, with its verdict.")
    approvers: tuple[str, ...] = Field(
        (), description="Capabilities of which an approver needs one; empty: nobody can."
    )
    sentence: str


class CheckedConstitution(StrictModel):
    """A document without errors. Nothing is proved about it yet."""

    kind: str = Field(description="`Constitution` or `Overlay`.")
    name: str
    version: str
    digest: Digest = Field(description="Of the document; for an overlay, of what it makes of its base.")
    articles: int
    approvals: int
    guarantees: int
    reads: tuple[str, ...] = Field(description="Attributes that a decision reads.")


class Review(StrictModel):
    """Everything that was proved of a constitution. It may be activated when `holds`."""

    report: ProofReport
    narrower: Proof | None = Field(
        None, description="With overlays: the proof that they only make their base stricter."
    )
    holds: bool
