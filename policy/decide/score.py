"""Score S(a) = Σ wᵢ·φᵢ(x(a)) in fixed point: whole parts per million, summed by NumPy in 64-bit integers."""

from functools import lru_cache
from typing import Any

import numpy as np

from capsules.actions.verdict import PPM, Contribution
from capsules.base_model import fast_model
from capsules.bounded_cache import BoundedCache
from policy.decide.equivalence_classes import CACHE_SIZE
from policy.decide.evaluation import AttributeReader, Evaluator, Values

FeatureEvaluator = Evaluator[int]
_FIELDS = set(Contribution.model_fields)


class Scorer:
    """The weighted features. The sum of those that only compare is cached for actions of the same classes."""

    def __init__(self, features: tuple[FeatureEvaluator, ...], weights: list[int], reader: AttributeReader) -> None:
        self._features = features
        self._weights = np.array(weights, dtype=np.int64)
        self._named = tuple((feature.name, weight) for feature, weight in zip(features, weights, strict=True))
        comparing = [number for number, feature in enumerate(features) if not feature.computes]
        self._comparing = np.array(comparing, dtype=np.intp)
        self._computing = tuple((n, f, weights[n]) for n, f in enumerate(features) if f.computes)
        self._select_compared = reader.selector(frozenset().union(*(features[number].reads for number in comparing)))
        self._cache = BoundedCache[Any, tuple[int, list[Contribution]]](CACHE_SIZE)
        self._contribution = lru_cache(maxsize=CACHE_SIZE)(self._new_contribution)

    def score(self, values: Values, classes: Values) -> tuple[int, tuple[Contribution, ...]]:
        """Return S in parts per million and each feature's part. Raises ExpressionFailed."""
        key = self._select_compared(classes)
        known = self._cache.get(key)
        if known is None:
            known = self._cache[key] = self._sum(values, classes)
        total, parts = known
        if self._computing:
            parts = parts.copy()
            for number, feature, weight in self._computing:
                value = feature.value(values, classes)
                total += weight * value
                parts[number] = self._new_contribution(number, value)
        return total // PPM, tuple(parts)

    def _sum(self, values: Values, classes: Values) -> tuple[int, list[Contribution]]:
        shares = np.zeros(len(self._features), dtype=np.int64)
        for number in self._comparing:
            shares[number] = self._features[number].value(values, classes)
        parts = [self._contribution(number, int(value)) for number, value in enumerate(shares)]
        return int(self._weights @ shares), parts

    def _new_contribution(self, feature: int, value: int) -> Contribution:
        name, weight = self._named[feature]
        points = weight * value // PPM
        return fast_model(Contribution, _FIELDS, {"feature": name, "weight": weight, "value": value, "points": points})
