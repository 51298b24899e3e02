"""Backtest: evaluates the recorded actions of real runs under a candidate constitution."""

from collections.abc import Iterable
from datetime import datetime

from capsules.constitutions.proof import Backtest, Flip, RecordedAction
from policy.decide.engine import Policy


def backtest(candidate: Policy, recorded: Iterable[RecordedAction], *, skipped: int = 0) -> Backtest:
    """Judge every recorded action again, on the facts of then.

    recorded: in any order. Only the first flip of each run counts: after it, the run might have gone another way.
    skipped: how many receipts were left out because they lack the facts.
    """
    actions, runs = 0, set()
    flips: dict[str, Flip] = {}
    for record in recorded:
        actions += 1
        runs.add(record.run)
        verdict = candidate.evaluate(record.action, record.facts)
        known = flips.get(record.run)
        if verdict.decision == record.decision or (known is not None and known.seq <= record.seq):
            continue
        flips[record.run] = Flip(
            run=record.run,
            seq=record.seq,
            at=record.at,
            action=record.action,
            before=record.decision,
            after=verdict.decision,
            sentence=verdict.sentence,
        )
    return Backtest(
        candidate=candidate.digest,
        runs=len(runs),
        actions=actions,
        flips=tuple(sorted(flips.values(), key=_newest_first, reverse=True)),
        skipped=skipped,
    )


def _newest_first(flip: Flip) -> tuple[datetime, str]:
    return flip.at, flip.run
