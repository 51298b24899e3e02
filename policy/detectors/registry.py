"""`actor.standing` and `signals.trust`: shares over what the store remembers, tempered where it remembers little.

The share is Laplace's: (good + 1) / (all + 2). An actor or target without history stands at one half, neither trusted
nor distrusted; one bad action of one gives a third and not nothing; with a hundred the prior hardly counts.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from capsules.actions.action import Action
from capsules.actions.ledger_messages import History, HistoryAsked, Tally
from policy.detectors.argument_text import Reading
from policy.detectors.injection import injection
from policy.detectors.pii import pii
from policy.detectors.secrets import secrets


def share(tally: Tally) -> float:
    """Return the share of the tally that was good, with the prior."""
    return (tally.of - tally.bad + 1) / (tally.of + 2)


@dataclass(frozen=True)
class Evidence:
    """What signals are measured on."""

    reading: Reading
    history: History


@dataclass(frozen=True)
class Signal:
    """One registered feature. Deterministic: no clock, no network, no chance."""

    path: str
    """As expressions name it."""
    measures: str
    source: Literal["text", "store"]
    measure: Callable[[Evidence], float]
    low: float = 0.0
    high: float = 1.0


SIGNALS: tuple[Signal, ...] = (
    Signal(
        "signals.secrets",
        "Credentials in the arguments: keys and tokens by their issuers' formats, named passwords, random strings.",
        "text",
        lambda evidence: secrets(evidence.reading),
    ),
    Signal(
        "signals.pii",
        "Personal data in the arguments: e-mail, telephone, card, bank and identity numbers.",
        "text",
        lambda evidence: pii(evidence.reading),
    ),
    Signal(
        "signals.injection",
        "Marks of an attempt to steer the model in the arguments: overrides, role marks, hidden or encoded text.",
        "text",
        lambda evidence: injection(evidence.reading),
    ),
    Signal(
        "signals.trust",
        "Share of the tenant's last 200 ended uses of this target that did not fail; one half without history.",
        "store",
        lambda evidence: share(evidence.history.uses),
    ),
    Signal(
        "actor.standing",
        "Share of decisions in the actor's last 100 runs that were not denials; one half without history.",
        "store",
        lambda evidence: share(evidence.history.decisions),
    ),
)

STANDING, TRUST = "actor.standing", "signals.trust"
NOTHING = Reading("")
LONG = 8192
"""Characters from which a text is measured beside the event loop: that takes milliseconds."""


def wanted(reads: frozenset[str]) -> tuple[Signal, ...]:
    """Return the signals among the attributes that a constitution reads."""
    return tuple(signal for signal in SIGNALS if signal.path in reads)


def history_asked(reads: frozenset[str], actor: str, action: Action) -> HistoryAsked:
    """Return what of the past a constitution reads: nothing else is looked up."""
    return HistoryAsked(
        actor=actor if STANDING in reads else None,
        kind=action.kind if TRUST in reads else None,
        target=action.target if TRUST in reads else None,
    )


async def measured(signals: tuple[Signal, ...], text: Callable[[], Reading], history: History) -> dict[str, float]:
    """Measure, by path. The text is read once, and only when one of them needs it."""
    needs_text = any(signal.source == "text" for signal in signals)
    evidence = Evidence(text() if needs_text else NOTHING, history)
    if len(evidence.reading.text) < LONG:
        return values(signals, evidence)
    return await asyncio.to_thread(values, signals, evidence)


def values(signals: tuple[Signal, ...], evidence: Evidence) -> dict[str, float]:
    """Return each signal's value, within its range."""
    return {signal.path: min(signal.high, max(signal.low, signal.measure(evidence))) for signal in signals}
