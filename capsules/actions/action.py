"""Action: one effect that a run asks for, as the gate sees it.

The pure function declared beside the activity derives every field from the activity's input and from platform facts. No
field comes from what a model says about itself.
"""

import math
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from capsules.base_model import FrozenModel, StrictModel
from capsules.budgets.amounts import Amounts
from capsules.digest import Digest, digest

ActionKind = Literal[
    "slm.chat",
    "slm.embed",
    "memory.remember",
    "memory.recall",
    "tool.invoke",
    "artifact.publish",
    "capsule.start",
]
Effect = Literal["read", "write", "destructive"]
Egress = Literal["none", "allowlist", "open"]
DataClass = Literal["public", "internal", "confidential", "secret"]
Autonomy = Literal["manual", "supervised", "autonomous"]


def truncate_share(share: float) -> float:
    """Return a share cut to six decimals. Decisions, receipts and proofs all use this value."""
    return math.floor(share * 1_000_000 + 1e-6) / 1_000_000


Share = Annotated[float, Field(ge=0, le=1), AfterValidator(truncate_share)]
"""From 0 to 1, in whole parts per million."""


class Action(StrictModel):
    """One effect: its kind, target, properties and highest cost."""

    kind: ActionKind
    target: str = Field(description="What is acted on: `python@1.0.0/run`, a model role, a memory space, a capsule.")
    effect: Effect = "read"
    reversible: bool = True
    egress: Egress = "none"
    data: DataClass = "internal"
    idempotent: bool = Field(default=True, description="Running it twice does what running it once does.")
    cost: Amounts = Field(default=Amounts(), description="Upper bound, reserved before the effect.")
    least: Amounts | None = Field(default=None, description="Lower bound of the cost; none if the upper one is exact.")
    arguments: Digest = Field(description="Digest of the activity's whole input.")

    def digest(self) -> Digest:
        """Return the digest that an approval is bound to."""
        return digest(self)


class ForecastRange(StrictModel):
    """The forecast of a run that is to be started, as the ends of its interval."""

    tokens: int = Field(0, ge=0, le=2**53 - 1, description="Upper end: by this a decision holds for the interval.")
    micro_usd: int = Field(0, ge=0, le=2**53 - 1)
    least_tokens: int = Field(0, ge=0, le=2**53 - 1)
    least_micro_usd: int = Field(0, ge=0, le=2**53 - 1)


class Facts(FrozenModel):
    """Facts about an action and its run, which the gate reads from the database for each evaluation."""

    autonomy: Autonomy = "supervised"
    headroom: Share = Field(1.0, description="Least share of the run's limit left after this action, any dimension.")
    denials: int = Field(0, ge=0, description="Denied actions of this run so far.")
    actor: str = ""
    tenant: str = ""
    parent: str | None = Field(default=None, description="The run that started this one as its child.")
    standing: Share | None = Field(
        None, description="Share of the actor's earlier actions that were not denied; unset when no clause reads it."
    )
    forecast: ForecastRange | None = Field(
        None, description="Forecast of a start, when a clause reads it. Unset, it counts as 0."
    )
    sequences: dict[str, str] = Field(default_factory=dict, description="State of each sequence of the run so far.")
    signals: dict[str, Share] = Field(
        default_factory=dict, description="Detector scores: `secrets`, `pii`, `injection`."
    )

    def variables(self) -> dict[str, dict[str, Any]]:
        """Return the expression variables beside `action`."""
        forecast = self.forecast or ForecastRange()
        return {
            "run": {"autonomy": self.autonomy, "denials": self.denials}
            | ({} if self.parent is None else {"parent": self.parent}),
            "budget": {"headroom": self.headroom},
            "forecast": {"tokens": forecast.tokens, "micro_usd": forecast.micro_usd},
            "actor": {"subject": self.actor, "tenant": self.tenant}
            | ({} if self.standing is None else {"standing": self.standing}),
            "signals": dict(self.signals),
            "sequences": dict(self.sequences),
        }


def action_variables(action: Action) -> dict[str, Any]:
    """Return the expression variable `action`: flat, so that an evaluation converts few values."""
    return {
        "kind": action.kind,
        "target": action.target,
        "effect": action.effect,
        "reversible": action.reversible,
        "egress": action.egress,
        "data": action.data,
        "idempotent": action.idempotent,
        "tokens": action.cost.tokens,
        "micro_usd": action.cost.micro_usd,
        "tool_calls": action.cost.tool_calls,
    }
