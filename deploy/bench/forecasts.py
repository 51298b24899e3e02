"""Benchmark of forecasts: of one run, of a composite of eight parts, and learning from 600 runs, with a seed."""

import random
import time
from collections.abc import Callable

from bench import Bench, Turns
from results import Goal, Result, result

from capsules.budgets.amounts import Amounts
from capsules.forecasts.forecast import PastRun, Shape, static_forecast
from capsules.models.chat import Price
from policy.forecasts.forecaster import learn

SEED = 20_261_126
RUNS = 600
CAPSULES = 8
BLOCK = 200
BOUND = Amounts(tokens=20_000, micro_usd=50_000, tool_calls=10)
PRICE = Price(input=150_000, output=600_000)


def shape(number: int, length: int) -> Shape:
    return Shape(
        capsule=f"capsule-{number}",
        model="local",
        persona=f"persona-{number % 3}",
        input_length=length,
        calls={"python/run": 1 + number % 2},
    )


def past(chance: random.Random) -> list[PastRun]:
    """Return runs of eight capsules. Their tokens grow with their inputs, and vary."""
    found = []
    for number in range(RUNS):
        of = shape(number % CAPSULES, chance.randrange(100, 4000))
        tokens = 300 * (1 + number % CAPSULES) + of.input_length // 4 + chance.randrange(100)
        found.append(PastRun(run=f"r{number}", shape=of, forecast=static_forecast(of, BOUND, ""), tokens=tokens))
    return found


async def measure(turns: Turns) -> list[Result]:
    chance = random.Random(SEED)  # noqa: S311 - a reproducible benchmark
    runs = past(chance)
    forecaster = learn(runs)
    parts = tuple(shape(number, 1000) for number in range(CAPSULES))
    composite = Shape(capsule="composite", parts=parts)
    assert forecaster.forecast(parts[0], bound=BOUND, price=PRICE).basis == "learned"
    assert static_forecast(composite, BOUND, "").basis == "static"

    async def mean(work: Callable[[], object], times: int) -> list[float]:
        """Return the mean seconds of `times` calls."""
        began = time.perf_counter()
        for _ in range(times):
            work()
        return [(time.perf_counter() - began) / times]

    single, whole, learned = await turns.compare(
        lambda: mean(lambda: forecaster.forecast(parts[3], bound=BOUND, price=PRICE), BLOCK),
        lambda: mean(lambda: forecaster.forecast(composite, bound=BOUND, price=PRICE), BLOCK // 10),
        lambda: mean(lambda: learn(runs), 1),
    )
    return [
        result("forecast", "ms", single, scale=1e3, goal=Goal("ours", "<", 1)),
        result("forecast-composite", "ms", whole, scale=1e3, goal=Goal("ours", "<", 1)),
        result("forecast-learn", "ms", learned, scale=1e3),
    ]


BENCH = Bench(
    name="forecasts",
    needs=(),
    measure=measure,
    explained={
        "forecast": "The forecast of one run, tokens and money with their interval, by what was learned from 600 runs. "
        "There is no anchor.",
        "forecast-composite": "The same of a composite that never ran, added up from eight parts.",
        "forecast-learn": "Learning anew from 600 runs of eight capsules, beside the work, at most every ten seconds.",
    },
)
