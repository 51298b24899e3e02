"""The mathematics of forecasts: coverage that is promised is kept, under exchangeability and after a shift."""

import math
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from properties import examples

from capsules.budgets.amounts import Amounts
from capsules.forecasts.forecast import Forecast, Interval, PastRun, Shape, cost_interval, static_forecast
from capsules.models.chat import Price
from policy.forecasts.forecaster import accuracy, learn
from policy.forecasts.statistics import MIN_ALPHA, adapt_alpha, fit, needed_errors, radius

BOUND = Amounts(tokens=100_000, micro_usd=1_000_000)
FREE = Price()


def past_run(number: int, shape: Shape, tokens: int, forecast: Forecast | None = None) -> PastRun:
    return PastRun(
        run=f"t/{shape.capsule}/{number}",
        shape=shape,
        forecast=forecast or static_forecast(shape, BOUND, ""),
        tokens=tokens,
    )


def random_run(chance: random.Random, number: int, *, capsule: str = "a", factor: float = 1.0) -> PastRun:
    """A run of which the tokens follow its input, with heavy-tailed noise: not what the regression assumes."""
    length = chance.randrange(100, 8000)
    noise = chance.lognormvariate(3, 1)
    shape = Shape(capsule=capsule, model="m", input_length=length)
    return past_run(number, shape, int(factor * (200 + length / 4 + noise)))


def test_the_interval_covers_as_often_as_it_says() -> None:
    """Over many sets of exchangeable runs: within three standard errors of the promise, and never far above it."""
    chance = random.Random(7)
    held = total = 0
    for _ in range(300):
        runs = [random_run(chance, n) for n in range(60)]
        forecaster = learn(runs)
        for n in range(5):
            fresh = random_run(chance, 100 + n)
            told = forecaster.forecast(fresh.shape, bound=BOUND, price=FREE)
            assert told.basis == "learned"
            held += told.tokens.low <= fresh.tokens <= told.tokens.high
            total += 1
    error = math.sqrt(0.9 * 0.1 / total)
    assert 0.9 - 3 * error <= held / total <= 0.9 + 2 / 30 + 3 * error


def test_after_a_shift_adaptation_brings_coverage_back() -> None:
    """Runs suddenly take half as much again; followed online as a tenant's are, most of the later ones are held."""
    chance = random.Random(11)
    seen: list[PastRun] = []
    held = []
    for number in range(240):
        fresh = random_run(chance, number, factor=1.0 if number < 80 else 1.5)
        told = learn(seen[-120:]).forecast(fresh.shape, bound=BOUND, price=FREE)
        seen.append(fresh.model_copy(update={"forecast": told}))
        if told.basis == "learned":
            held.append((number, told.tokens.low <= fresh.tokens <= told.tokens.high))
    late = [inside for number, inside in held if number >= 160]
    assert sum(late) / len(late) >= 0.85


def test_the_adaptive_rate_of_misses_is_bounded_whatever_happens() -> None:
    """Gibbs and Candès, proposition 4.1: the average miss is within (max α + γ) / (T γ) of the target."""
    chance = random.Random(3)
    alpha, misses = 0.1, []
    for _ in range(2000):
        missed = chance.random() < adapt_alpha(alpha, misses[-400:])
        misses.append(missed)
    assert abs(sum(misses) / len(misses) - alpha) < 0.03
    assert adapt_alpha(alpha, [True] * 500) == MIN_ALPHA


@given(st.lists(st.floats(0, 1e9), min_size=9, max_size=200), st.floats(0.1, 0.5), st.floats(0, 1e9))
def test_a_radius_grows_with_coverage_and_with_an_error(errors: list[float], alpha: float, more: float) -> None:
    found = radius(errors, alpha)
    assert found is not None
    assert found in errors
    wider = radius(errors, alpha / 2)
    assert wider is None or wider >= found
    assert sum(error <= found for error in errors) >= (1 - alpha) * len(errors)
    grown = radius([*errors[1:], max(errors[0], more)], alpha)
    assert grown is not None
    assert grown >= min(found, grown)


def test_too_few_errors_give_no_interval() -> None:
    assert needed_errors(0.1) == 9
    assert radius([1.0] * 8, 0.1) is None
    assert radius([1.0] * 9, 0.1) == 1.0
    assert radius([], 0.1) is None


@settings(max_examples=examples(15))
@given(st.randoms(use_true_random=False), st.integers(3, 40))
def test_the_regression_does_not_depend_on_the_order_and_recovers_a_plane(chance: random.Random, count: int) -> None:
    rows = [{"x": chance.uniform(0, 5), "y": float(chance.randrange(4))} for _ in range(count)]
    targets = [3 + 2 * row["x"] - row["y"] for row in rows]
    exact = fit(rows, targets, penalty=1e-9)
    for row, target in zip(rows, targets, strict=True):
        assert exact.predict(row) == pytest.approx(target, abs=1e-3)
    order = list(range(count))
    chance.shuffle(order)
    again = fit([rows[n] for n in order], [targets[n] for n in order], penalty=1e-9)
    assert again.predict({"x": 1.0, "y": 2.0}) == pytest.approx(exact.predict({"x": 1.0, "y": 2.0}), abs=1e-6)
    assert np.isfinite(fit(rows, targets).predict({"unknown": 5.0}))


@pytest.mark.parametrize("constant", [0.1, 2.675, 3.3, 1e-9, 123_456.7])
@pytest.mark.parametrize("count", [3, 6, 40])
def test_a_column_that_is_constant_up_to_rounding_moves_no_forecast(constant: float, count: int) -> None:
    """The computed deviation of equal numbers is rounding noise, not always 0; no coefficient may stand on it."""
    rows = [{"x": constant, "y": float(n % 4)} for n in range(count)]
    targets = [3 + 2 * row["x"] - row["y"] for row in rows]
    fitted = fit(rows, targets, penalty=1e-9)
    assert fitted.coefficients[fitted.columns["x"]] == 0
    seen, unseen = (fitted.predict({"x": x, "y": 2.0}) for x in (constant, constant + 100))
    assert seen == unseen == pytest.approx(3 + 2 * constant - 2, abs=1e-6)


def test_without_data_it_says_so_and_gives_the_bound() -> None:
    shape = Shape(capsule="a", model="m", input_length=10)
    for count in (0, 1, 17):
        told = learn([past_run(n, shape, 100) for n in range(count)]).forecast(shape, bound=BOUND, price=FREE)
        assert (told.basis, told.coverage, told.runs) == ("static", 0, 0)
        assert (told.tokens.low, told.tokens.high) == (0, BOUND.tokens)
        assert told.why.startswith(f"No data: {count} completed runs of 'a' on m, and an interval needs 18.")
    assert (
        learn([past_run(n, shape, 100) for n in range(18)]).forecast(shape, bound=BOUND, price=FREE).basis == "learned"
    )


def test_of_another_model_or_capsule_nothing_is_claimed() -> None:
    shape = Shape(capsule="a", model="m")
    forecaster = learn([past_run(n, shape, 100 + n) for n in range(40)])
    for other in (Shape(capsule="a", model="other"), Shape(capsule="b", model="m")):
        assert forecaster.forecast(other, bound=BOUND, price=FREE).basis == "static"


@given(st.integers(0, 200), st.integers(1, 5))
def test_no_forecast_passes_the_budget(limit: int, factor: int) -> None:
    shape = Shape(capsule="a", model="m")
    runs = [past_run(n, shape, 50 * factor + n % 7) for n in range(40)]
    bound = Amounts(tokens=limit, micro_usd=limit)
    told = learn(runs).forecast(shape, bound=bound, price=Price(input=10_000_000, output=30_000_000))
    assert told.tokens.low <= told.tokens.likely <= told.tokens.high <= limit
    assert told.micro_usd.low <= told.micro_usd.likely <= told.micro_usd.high <= limit


def test_a_composites_upper_bound_holds_under_any_dependence() -> None:
    """Two parts that always go wrong together: the sum of their ends still covers as often as it says."""
    chance = random.Random(5)
    parts = (Shape(capsule="a", model="m"), Shape(capsule="b", model="m"))

    def together(number: int) -> tuple[PastRun, PastRun]:
        surge = int(chance.lognormvariate(4, 1.2))
        return past_run(number, parts[0], 300 + surge), past_run(number, parts[1], 500 + 2 * surge)

    whole = Shape(capsule="whole", model="", parts=parts)
    held = total = 0
    for _ in range(150):
        told = learn([one for n in range(80) for one in together(n)]).forecast(whole, bound=BOUND, price=FREE)
        assert told.basis == "parts"
        for n in range(4):
            first, second = together(1000 + n)
            held += first.tokens + second.tokens <= told.tokens.high
            total += 1
    assert held / total >= 0.9 - 3 * math.sqrt(0.09 / total)
    lacking = learn([together(n)[0] for n in range(80)]).forecast(whole, bound=BOUND, price=FREE)
    assert (lacking.basis, "'b'" in lacking.why) == ("static", True)


@given(st.lists(st.integers(0, 10**9), min_size=3, max_size=3), st.integers(0, 10**7), st.integers(0, 10**7))
def test_money_is_whole_and_in_order(ends: list[int], read: int, written: int) -> None:
    low, likely, high = sorted(ends)
    bound = Amounts(tokens=10**9, micro_usd=10**15)
    cost = cost_interval(Interval(low=low, likely=likely, high=high), Price(input=read, output=written), bound)
    assert cost.low <= cost.likely <= cost.high
    for split in (0, high // 2, high):
        assert Price(input=read, output=written).cost(input_tokens=split, output_tokens=high - split) <= cost.high


def test_accuracy_counts_only_what_was_claimed() -> None:
    shape = Shape(capsule="a", model="m")
    claimed = learn([past_run(n, shape, 100) for n in range(20)]).forecast(shape, bound=BOUND, price=FREE)
    runs = [past_run(0, shape, 100), past_run(1, shape, 100, claimed), past_run(2, shape, 200, claimed)]
    (found,) = accuracy(runs)
    assert (found.runs, found.covered) == (2, 1)
    assert found.mape == pytest.approx((0 + 50) / 2)
    assert found.mape_of_mean == pytest.approx((0 + 50) / 2)
    assert [a.capsule for a in accuracy([past_run(0, Shape(capsule=c), 1) for c in "ba"])] == ["a", "b"]
