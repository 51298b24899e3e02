"""What the gate tells whoever counts: one judgement, how it ended, and how long it took."""

from collections.abc import Callable
from dataclasses import dataclass

from capsules.action import Action
from capsules.gate import Entry
from capsules.verdict import ShadowVerdict, Verdict


@dataclass(frozen=True)
class Passed:
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


Watch = Callable[[Passed], None]


def unwatched(_: Passed) -> None:
    """Count nothing."""


def passed(entry: Entry, status: str, *, judging: float, passing: float) -> Passed:
    return Passed(entry.action, entry.verdict, entry.shadow, status, judging, passing)
