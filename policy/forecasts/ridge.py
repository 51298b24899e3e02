"""Ridge regression in closed form: β = (XᵀX + λI)⁻¹Xᵀy on standardised columns; the mean is not penalised."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

PENALTY = 1.0
Row = Mapping[str, float]


@dataclass(frozen=True)
class Ridge:
    """A fitted regression over named columns; a column that it never saw counts as its mean."""

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
    scale[scale == 0] = 1.0  # a constant column says nothing beyond the mean
    standard = (x - centre) / scale
    gram = standard.T @ standard + penalty * np.eye(len(names))
    coefficients = np.linalg.solve(gram, standard.T @ (y - y.mean()))
    return Ridge(names, coefficients, centre, scale, float(y.mean()))
