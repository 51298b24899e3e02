"""`actor.standing` and `signals.trust`: shares over what the store remembers, tempered where it remembers little.

The share is Laplace's: (good + 1) / (all + 2). An actor or target without history stands at one half, neither trusted
nor distrusted; one bad action of one gives a third and not nothing; with a hundred the prior hardly counts.
"""

from capsules.gate import Tally


def share(tally: Tally) -> float:
    """Return the share of the tally that was good, with the prior."""
    return (tally.of - tally.bad + 1) / (tally.of + 2)
