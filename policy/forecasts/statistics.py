"""Statistics of forecasts: ridge regression for the likeliest value, split conformal prediction for the interval.

Ridge regression in closed form: β = (XᵀX + λI)⁻¹Xᵀy on standardised columns; the mean is not penalised.

Of n calibration errors the ⌈(n + 1)(1 − α)⌉-th smallest bounds the next one with probability at least 1 − α, when runs
are exchangeable (Vovk et al. 2005; Lei et al. 2018). When they drift, past misses adjust α: adaptive conformal
inference (Gibbs and Candès 2021).
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

PENALTY = 1.0
Row = Mapping[str, float]


@dataclass(frozen=True)
class Ridge:
    """A fitted regression over named columns. A column unknown or constant up to rounding moves no prediction."""

    columns: Mapping[str, int]
    coefficients: NDArray[np.float64]
    """Shape (columns,), of the standardised columns."""
    centre: NDArray[np.float64]
    scale: NDArray[np.float64]
    mean: float

    def predict(self, row: Row) -> float:
        values = np.zeros(len(self.columns))
        for name, value in row.items():
            if name in self.columns:
                values[self.columns[name]] = value
        return float(self.mean + ((values - self.centre) / self.scale) @ self.coefficients)


def fit(rows: Sequence[Row], targets: Sequence[float], penalty: float = PENALTY) -> Ridge:
    """Fit targets (shape (n,)) on rows. Needs at least one; the result does not depend on their order."""
    names = {name: n for n, name in enumerate(sorted({name for row in rows for name in row}))}
    x = np.zeros((len(rows), len(names)))
    for n, row in enumerate(rows):
        for name, value in row.items():
            x[n, names[name]] = value
    y = np.asarray(targets, dtype=np.float64)
    centre, scale = x.mean(axis=0), x.std(axis=0)
    # A constant column says nothing beyond the mean. Its computed deviation is the rounding error of n additions.
    constant = scale <= np.finfo(np.float64).eps * len(rows) * np.abs(x).max(axis=0)
    scale[constant] = 1.0
    standard = np.where(constant, 0.0, (x - centre) / scale)
    # As least squares of the columns over √λ·I: XᵀX would square their condition where columns depend on each other.
    q, r = np.linalg.qr(np.vstack([standard, np.sqrt(penalty) * np.eye(len(names))]))
    coefficients = np.linalg.solve(r, q[: len(rows)].T @ (y - y.mean()))
    return Ridge(names, coefficients, centre, scale, float(y.mean()))


STEP = 0.02
"""γ of the adaptive update: how much one miss widens the next intervals."""
MIN_ALPHA, MAX_ALPHA = 0.002, 0.5


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
        steered = min(MAX_ALPHA, max(MIN_ALPHA, steered + STEP * (alpha - miss)))
    return steered
