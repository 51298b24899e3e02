"""Budget thresholds: the one that a run has reached, and the rules of its capsule that become due."""

from collections.abc import Iterator

from capsules.budgets.amounts import DIMENSIONS, Amounts
from capsules.capsule import BUDGET_THRESHOLDS, Budget, ThresholdRule


def reached_threshold(spent: Amounts, left: Amounts | None) -> int:
    """Return the highest threshold (50, 80 or 100 per cent) that any dimension has reached; 0 below 50.

    Reserved amounts count as neither spent nor left.
    """
    share = 0
    for dimension in DIMENSIONS:
        used = getattr(spent, dimension)
        limit = used + (getattr(left, dimension) if left else 0)
        if left is not None and limit and used:
            share = max(share, 100 * used // limit)
    return max((threshold for threshold in BUDGET_THRESHOLDS if share >= threshold), default=0)


def due_rules(budget: Budget, before: int, now: int) -> Iterator[ThresholdRule]:
    """Yield the rules above threshold `before` and up to `now`, in the order of their thresholds."""
    for rule in sorted(budget.on_pressure, key=lambda rule: rule.at):
        if before < rule.at <= now:
            yield rule
