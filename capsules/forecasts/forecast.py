"""Forecasts: a run's expected usage with an interval of stated coverage; `static` where data is missing."""

from typing import Literal, Protocol

from pydantic import Field

from capsules.base_model import StrictModel
from capsules.budgets.amounts import Amounts, Count
from capsules.capsule import Capsule
from capsules.models.chat import Price
from capsules.runs.run import StartCapsule

COVERAGE = 900_000
"""Stated coverage of intervals, in parts per million."""


class Shape(StrictModel):
    """Properties of a run that are known before it starts."""

    capsule: str = Field(description="Name without version: versions of a capsule learn from each other.")
    model: str = Field("", description="Empty for a capsule that asks no model.")
    persona: str = ""
    input_length: int = Field(0, ge=0, description="Characters of the inputs as JSON.")
    calls: dict[str, int] = Field({}, description="Expected calls of each tool action, from its fixed steps.")
    parts: tuple["Shape", ...] = Field((), description="composite: its tasks.")


class Interval(StrictModel):
    """An interval of whole numbers, with its most likely value."""

    low: Count
    likely: Count
    high: Count


class Forecast(StrictModel):
    """Expected usage of a run. `static`: without data; the interval is 0 to the bound, without stated coverage."""

    capsule: str
    model: str
    basis: Literal["learned", "parts", "static"]
    coverage: int = Field(COVERAGE, description="Stated coverage in parts per million. static: nothing is claimed.")
    runs: int = Field(description="Real runs that it was learned from.")
    tokens: Interval
    micro_usd: Interval
    bound: Amounts = Field(description="What the run can take at most: its budget.")
    why: str


class Accuracy(StrictModel):
    """Accuracy of the forecasts of one capsule on one model."""

    capsule: str
    model: str
    runs: int = Field(description="Completed runs that had a learned forecast when they started.")
    covered: int = Field(description="How many of them ended within their interval.")
    mape: float | None = Field(None, description="Mean absolute error of the likeliest, in percent of the actual.")
    mape_of_mean: float | None = Field(None, description="The same of the mean of all runs before, as a baseline.")


class PastRun(StrictModel):
    """One completed run: its shape, what was forecast for it, and the tokens that it took."""

    run: str
    shape: Shape
    forecast: Forecast
    tokens: int


def shape_of(capsule: Capsule, *, model: str, input_length: int, parts: tuple[Shape, ...] = ()) -> Shape:
    """Return the shape of a run of the capsule."""
    calls: dict[str, int] = {}
    for step in capsule.spec.steps:
        if step.use:
            calls[step.use] = calls.get(step.use, 0) + 1
    return Shape(
        capsule=capsule.metadata.name,
        model=model if capsule.spec.model else "",
        persona=(capsule.spec.persona or "").partition("@")[0],
        input_length=input_length,
        calls=calls,
        parts=parts,
    )


def static_forecast(shape: Shape, bound: Amounts, why: str) -> Forecast:
    """Return the forecast without data: from 0 to the budget."""
    return Forecast(
        capsule=shape.capsule,
        model=shape.model,
        basis="static",
        coverage=0,
        runs=0,
        tokens=Interval(low=0, likely=bound.tokens, high=bound.tokens),
        micro_usd=Interval(low=0, likely=bound.micro_usd, high=bound.micro_usd),
        bound=bound,
        why=why,
    )


def cost_interval(tokens: Interval, price: Price, bound: Amounts) -> Interval:
    """Return the cost of an interval of tokens in micro-dollars, at most the bound.

    How many tokens are input and how many output is not known, so it reaches from the lower to the higher price.
    """
    low, high = sorted((price.input, price.output))

    def cost(count: int, rate: int) -> int:
        return min(bound.micro_usd, -(-count * rate // 1_000_000))

    top = cost(tokens.high, high)
    return Interval(low=cost(tokens.low, low), likely=min(top, cost(tokens.likely, (low + high) // 2)), high=top)


class RunForecaster(Protocol):
    """Port that forecasts a start."""

    async def of(self, tenant: str, request: StartCapsule) -> Forecast:
        """Forecast a run before it is admitted. Raises NotFound for a capsule that is not published."""
        ...
