"""What the gate tells whoever counts: one judgement, how it ended, and how long it took."""

from collections.abc import Callable
from dataclasses import dataclass

from capsules.actions.action import Action
from capsules.actions.ledger_messages import BeginEffect
from capsules.actions.verdict import ShadowVerdict, Verdict


@dataclass(frozen=True)
class GateMeasurement:
    """One passage through the gate, whether it led through or not."""

    action: Action
    verdict: Verdict
    shadow: ShadowVerdict | None
    status: str
    """What the ledger answered: go, replay, denied, ask, exhausted, revoked."""
    judging: float
    """Seconds for the verdict, with the explanation of an ask or a deny."""
    passing: float
    """Seconds from the request to the durable decision."""


MetricsHook = Callable[[GateMeasurement], None]


def no_metrics(_: GateMeasurement) -> None:
    """Count nothing."""


def measure(entry: BeginEffect, status: str, *, judging: float, passing: float) -> GateMeasurement:
    return GateMeasurement(entry.action, entry.verdict, entry.shadow, status, judging, passing)
