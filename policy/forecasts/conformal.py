"""Split conformal prediction: intervals with a stated coverage, for any distribution of the errors.

Of n calibration errors the ⌈(n + 1)(1 − α)⌉-th smallest bounds the next one with probability at least 1 − α, when runs
are exchangeable (Vovk et al. 2005; Lei et al. 2018). When they drift, past misses adjust α: adaptive conformal
inference (Gibbs and Candès 2021).
"""

import math
from collections.abc import Iterable, Sequence

STEP = 0.02
"""γ of the adaptive update: how much one miss widens the next intervals."""
LEAST, MOST = 0.002, 0.5


def radius(errors: Sequence[float], alpha: float) -> float | None:
    """Return the half-width that covers with probability 1 − α, or None when the errors are too few to say."""
    rank = math.ceil((len(errors) + 1) * (1 - alpha) - 1e-9)
    return sorted(errors)[rank - 1] if 0 < rank <= len(errors) else None


def needed_errors(alpha: float) -> int:
    """Return how many calibration errors there must be for an interval at all."""
    return math.ceil((1 - alpha) / alpha - 1e-9)


def adapt_alpha(alpha: float, missed: Iterable[bool]) -> float:
    """Return α after past intervals missed or held, oldest first: α ← α + γ(α₀ − miss), within what can be computed."""
    steered = alpha
    for miss in missed:
        steered = min(MOST, max(LEAST, steered + STEP * (alpha - miss)))
    return steered
