"""Forecaster of one tenant, fitted on its completed runs.

tokens = baseline(capsule, model) + slope(capsule, model)·input length
         + Σ tool coefficient·expected calls + persona factor

The runs of each (capsule, model) are taken in the order they ended. Every other one fits the regression, the rest
calibrates the interval, since only errors on runs that were not fitted are valid for it.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from capsules.budgets.amounts import Amounts
from capsules.forecasts.forecast import (
    COVERAGE,
    Accuracy,
    Forecast,
    Interval,
    PastRun,
    Shape,
    cost_interval,
    static_forecast,
)
from capsules.models.chat import Price
from policy.forecasts.statistics import Ridge, Row, adapt_alpha, fit, needed_errors, radius

PPM = 1_000_000
ALPHA = 1 - COVERAGE / PPM
GroupKey = tuple[str, str]


@dataclass(frozen=True)
class Calibration:
    """Calibration of one capsule on one model."""

    runs: int
    errors: tuple[float, ...]
    missed: tuple[bool, ...]
    """Of its past learned forecasts, oldest first."""
    mean_length: float


@dataclass(frozen=True)
class Forecaster:
    ridge: Ridge | None
    known: dict[GroupKey, Calibration]

    def forecast(self, shape: Shape, *, bound: Amounts, price: Price) -> Forecast:
        """Return the forecast of a run: `static` without enough completed runs of it, or of all its parts."""
        tokens = self._learned_interval(shape, ALPHA)
        if tokens is not None:
            runs = self.known[group_key(shape)].runs
            return self._forecast(shape, "learned", runs, tokens, bound, price, f"Learned from {runs} completed runs.")
        if not shape.parts:
            return static_forecast(shape, bound, self._missing(shape))
        # Errors of parts may depend on each other: each part gets its share of α, and the ends add up (Bonferroni).
        parts = [(part, self._part(part, ALPHA / len(shape.parts))) for part in shape.parts]
        found = [interval for _, interval in parts if interval is not None]
        if len(found) < len(parts):
            lacking = next(part for part, interval in parts if interval is None)
            return static_forecast(shape, bound, self._missing(lacking))
        total = Interval(
            low=sum(one.low for one in found),
            likely=sum(one.likely for one in found),
            high=sum(one.high for one in found),
        )
        runs = min(self.known[group_key(part)].runs for part in shape.parts)
        why = f"Added up from {len(parts)} parts, each learned from at least {runs} completed runs."
        return self._forecast(shape, "parts", runs, total, bound, price, why)

    def _part(self, shape: Shape, alpha: float) -> Interval | None:
        """Forecast a part. Its inputs are not known yet, so they count with the mean length."""
        found = self.known.get(group_key(shape))
        usual = shape.model_copy(update={"input_length": round(found.mean_length)}) if found else shape
        return self._learned_interval(usual, alpha)

    def _learned_interval(self, shape: Shape, alpha: float) -> Interval | None:
        found = self.known.get(group_key(shape))
        if found is None or self.ridge is None:
            return None
        half = radius(found.errors, adapt_alpha(alpha, found.missed))
        if half is None:
            # Adaptation may need more errors than there are; then the largest error is used.
            half = max(found.errors) if len(found.errors) >= needed_errors(alpha) else None
        if half is None:
            return None
        likely = max(0.0, self.ridge.predict(regression_row(shape)))
        return Interval(low=max(0, int(likely - half)), likely=round(likely), high=int(likely + half) + 1)

    def _missing(self, shape: Shape) -> str:
        found = self.known.get(group_key(shape))
        have = found.runs if found else 0
        on = f" on {shape.model}" if shape.model else ""
        return (
            f"No data: {have} completed runs of {shape.capsule!r}{on}, and an interval needs "
            f"{2 * needed_errors(ALPHA)}. Shown is what its budget allows at most."
        )

    @staticmethod
    def _forecast(  # noqa: PLR0913, PLR0917 - a forecast's parts
        shape: Shape, basis: str, runs: int, tokens: Interval, bound: Amounts, price: Price, why: str
    ) -> Forecast:
        # The budget is hard: no run takes more, however wide the interval.
        bounded = Interval(
            low=min(tokens.low, bound.tokens),
            likely=min(tokens.likely, bound.tokens),
            high=min(tokens.high, bound.tokens),
        )
        return Forecast(
            capsule=shape.capsule,
            model=shape.model,
            basis="parts" if basis == "parts" else "learned",
            runs=runs,
            tokens=bounded,
            micro_usd=cost_interval(bounded, price, bound),
            bound=bound,
            why=why,
        )


def learn(past: Sequence[PastRun]) -> Forecaster:
    """Learn from completed runs, oldest first."""
    groups = _by_group(past)
    learned = [one for runs in groups.values() for one in runs[::2]]
    if not learned:
        return Forecaster(None, {})
    ridge = fit([regression_row(one.shape) for one in learned], [float(one.tokens) for one in learned])
    return Forecaster(ridge, {name: _calibrate(ridge, runs) for name, runs in groups.items()})


def accuracy(past: Sequence[PastRun]) -> tuple[Accuracy, ...]:
    """Return the accuracy of past forecasts by capsule and model; `past`: oldest first."""
    return tuple(_accuracy(name, runs) for name, runs in sorted(_by_group(past).items()))


def _by_group(past: Sequence[PastRun]) -> dict[GroupKey, list[PastRun]]:
    groups: dict[GroupKey, list[PastRun]] = defaultdict(list)
    for one in past:
        groups[group_key(one.shape)].append(one)
    return groups


def group_key(shape: Shape) -> GroupKey:
    return shape.capsule, shape.model


def regression_row(shape: Shape) -> Row:
    """Return the regression's columns of a shape: length in thousands of characters, calls, and indicators."""
    name = "/".join(group_key(shape))
    columns = {f"capsule:{name}": 1.0, f"length:{name}": shape.input_length / 1000}
    columns |= {f"tool:{tool}": float(count) for tool, count in shape.calls.items()}
    if shape.persona:
        columns[f"persona:{shape.persona}"] = 1.0
    return columns


def _calibrate(ridge: Ridge, runs: Sequence[PastRun]) -> Calibration:
    return Calibration(
        runs=len(runs),
        errors=tuple(abs(one.tokens - max(0.0, ridge.predict(regression_row(one.shape)))) for one in runs[1::2]),
        missed=tuple(not _held(one) for one in runs if one.forecast.basis == "learned"),
        mean_length=sum(one.shape.input_length for one in runs) / len(runs),
    )


def _held(one: PastRun) -> bool:
    return one.forecast.tokens.low <= one.tokens <= one.forecast.tokens.high


def _accuracy(name: GroupKey, runs: Sequence[PastRun]) -> Accuracy:
    errors, of_mean, forecast, covered, total = [], [], 0, 0, 0
    for number, one in enumerate(runs):
        if one.forecast.basis != "static":
            forecast += 1
            covered += _held(one)
            if one.tokens:
                errors.append(abs(one.forecast.tokens.likely - one.tokens) / one.tokens)
                of_mean.append(abs(total / max(1, number) - one.tokens) / one.tokens)
        total += one.tokens
    return Accuracy(
        capsule=name[0],
        model=name[1],
        runs=forecast,
        covered=covered,
        mape=100 * sum(errors) / len(errors) if errors else None,
        mape_of_mean=100 * sum(of_mean) / len(of_mean) if of_mean else None,
    )
