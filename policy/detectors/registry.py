"""Registry of detectors, and the two scores from the database: `actor.standing` and `signals.trust`.

These two follow Laplace's rule: (good + 1) / (all + 2). An actor or target without history has one half. One bad
action of one gives a third; with a hundred actions the prior hardly counts.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from capsules.actions.action import Action
from capsules.actions.ledger_messages import History, HistoryQuery, Tally
from policy.detectors.argument_text import Reading
from policy.detectors.injection import injection
from policy.detectors.pii import pii
from policy.detectors.secrets import secrets


def good_share(tally: Tally) -> float:
    """Return the share of the tally that was good, with the prior."""
    return (tally.of - tally.bad + 1) / (tally.of + 2)


@dataclass(frozen=True)
class DetectorInput:
    """Input of a detector: the text of the arguments and the past of actor and target."""

    reading: Reading
    history: History


@dataclass(frozen=True)
class Detector:
    """A detector and the range of its scores. Deterministic: no clock, network or randomness."""

    path: str
    """Its attribute in expressions."""
    summary: str
    source: Literal["text", "store"]
    score: Callable[[DetectorInput], float]
    low: float = 0.0
    high: float = 1.0


DETECTORS: tuple[Detector, ...] = (
    Detector(
        "signals.secrets",
        "Credentials in the arguments: keys and tokens by their issuers' formats, named passwords, random strings.",
        "text",
        lambda evidence: secrets(evidence.reading),
    ),
    Detector(
        "signals.pii",
        "Personal data in the arguments: e-mail, telephone, card, bank and identity numbers.",
        "text",
        lambda evidence: pii(evidence.reading),
    ),
    Detector(
        "signals.injection",
        "Marks of an attempt to steer the model in the arguments: overrides, role marks, hidden or encoded text.",
        "text",
        lambda evidence: injection(evidence.reading),
    ),
    Detector(
        "signals.trust",
        "Share of the tenant's last 200 ended uses of this target that did not fail; one half without history.",
        "store",
        lambda evidence: good_share(evidence.history.uses),
    ),
    Detector(
        "actor.standing",
        "Share of decisions in the actor's last 100 runs that were not denials; one half without history.",
        "store",
        lambda evidence: good_share(evidence.history.decisions),
    ),
)

STANDING, TRUST = "actor.standing", "signals.trust"
NOTHING = Reading("")
LONG = 8192
"""Characters from which detectors run in a thread, because they take milliseconds."""


def detectors_for(reads: frozenset[str]) -> tuple[Detector, ...]:
    """Return the detectors whose scores a constitution reads."""
    return tuple(detector for detector in DETECTORS if detector.path in reads)


def history_query(reads: frozenset[str], actor: str, action: Action) -> HistoryQuery:
    """Return which parts of the past a constitution reads. Nothing else is looked up."""
    return HistoryQuery(
        actor=actor if STANDING in reads else None,
        kind=action.kind if TRUST in reads else None,
        target=action.target if TRUST in reads else None,
    )


async def run_detectors(
    detectors: tuple[Detector, ...], text: Callable[[], Reading], history: History
) -> dict[str, float]:
    """Return the detector scores by path. The text is read once, and only if a detector needs it."""
    needs_text = any(detector.source == "text" for detector in detectors)
    evidence = DetectorInput(text() if needs_text else NOTHING, history)
    if len(evidence.reading.text) < LONG:
        return scores(detectors, evidence)
    return await asyncio.to_thread(scores, detectors, evidence)


def scores(detectors: tuple[Detector, ...], evidence: DetectorInput) -> dict[str, float]:
    """Return the score of each detector by path, within its range."""
    return {detector.path: min(detector.high, max(detector.low, detector.score(evidence))) for detector in detectors}
