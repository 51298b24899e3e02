"""An action that nobody has taken, and what the platform would know then, as a request says them."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from capsules.actions.action import Action, Autonomy, Facts, ForecastRange, Share
from capsules.digest import GENESIS, Digest
from capsules.read_models import Principal
from policy.language.schema import SIGNALS

State = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")]


class SupposedAction(Action):
    """An action that nobody has taken: the digest of its arguments may be left out."""

    arguments: Digest = GENESIS

    def plain(self) -> Action:
        return Action.model_validate(self.model_dump())


class SupposedSignals(BaseModel):
    """What detectors would measure: nothing, unless it is said."""

    model_config = ConfigDict(extra="forbid")

    secrets: Share = 0.0
    pii: Share = 0.0
    injection: Share = 0.0
    trust: Share = 1.0


class SupposedFacts(BaseModel):
    """What the platform would know at that moment."""

    model_config = ConfigDict(extra="forbid")

    autonomy: Autonomy = "supervised"
    headroom: Share = 1.0
    denials: int = Field(0, ge=0, le=2**53 - 1)
    standing: Share = 1.0
    forecast: ForecastRange | None = Field(None, description="Of a start: what it would be foreseen to take.")
    signals: SupposedSignals = SupposedSignals()
    sequences: dict[State, State] = Field(default_factory=dict, max_length=16)

    def of(self, caller: Principal) -> Facts:
        """Return the facts of an action of the caller."""
        signals = {name: float(getattr(self.signals, name)) for name in SIGNALS}
        return Facts(
            **self.model_dump(exclude={"signals"}), signals=signals, actor=caller.subject, tenant=caller.tenant
        )
