"""Decisions about many actions at once, from columns of attributes: above a million a second."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from capsules.action import Action, Facts
from capsules.verdict import PPM, Decision
from policy.clauses import Clauses
from policy.constitution import in_ppm as share_in_ppm
from policy.encoding import DECISIONS
from policy.language.arrays import Array, Column, Texts, holds, in_ppm
from policy.language.schema import Choice, Fixed, Flag, Text


@dataclass(frozen=True)
class Decided:
    """decisions: index into `DECISIONS`, int8, shape (actions,). scores: parts per million, int64, the same shape."""

    decisions: Array
    scores: Array

    def __len__(self) -> int:
        return int(self.scores.shape[0])

    def decision(self, number: int) -> Decision:
        return DECISIONS[int(self.decisions[number])]


def columns_of(clauses: Clauses, judged: Sequence[tuple[Action, Facts]]) -> dict[str, Column]:
    """Return the columns of every attribute that the constitution looks at. Raises NotMeasured where one is missing."""
    return {path: _column(clauses, path, judged) for path in sorted(clauses.reads())}


def decide_batch(clauses: Clauses, columns: Mapping[str, Column]) -> Decided:
    """Decide every row. Raises Invalid for a clause that only the evaluator understands.

    columns: path to column, each of shape (actions,); see `policy.language.arrays.Column`.
    """
    kind = columns["action.kind"]
    assert isinstance(kind, Texts)
    rows = kind.codes.shape[0]
    total = np.zeros(rows, dtype=np.int64)
    outside = np.zeros(rows, dtype=bool)
    for weight, feature in zip(clauses.weights, clauses.features, strict=True):
        value = in_ppm(feature.tree, columns)
        outside |= (value < 0) | (value > PPM)
        total += weight * value
    scores = total // PPM
    score = clauses.constitution.score
    known = np.array([text in clauses.constitution.kinds for text in kind.table])[kind.codes]
    deny = ~known | outside | (scores < share_in_ppm(score.ask_from))
    for article in clauses.articles:
        deny |= holds(article.tree, columns)
    ask = scores < share_in_ppm(score.threshold)
    for rule in clauses.approvals:
        ask |= holds(rule.tree, columns)
    decisions = np.where(deny, 0, np.where(ask, 1, 2)).astype(np.int8)
    return Decided(decisions, np.where(outside, 0, scores))


def _column(clauses: Clauses, path: str, judged: Sequence[tuple[Action, Facts]]) -> Column:
    attribute = clauses.schema.attributes[path]
    values: list[Any] = [attribute.value(action, facts) for action, facts in judged]
    match attribute.type:
        case Flag():
            return np.array(values, dtype=bool)
        case Choice() | Text():
            table = tuple(dict.fromkeys(value for value in values if value is not None))
            codes = {text: code for code, text in enumerate(table)} | {None: -1}
            return Texts(np.array([codes[value] for value in values], dtype=np.int64), table)
        case Fixed():
            return np.rint(np.array(values, dtype=np.float64) * PPM).astype(np.int64)
        case _:
            return np.array(values, dtype=np.int64)
