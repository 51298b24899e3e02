"""Results of benchmarks beside their anchors: the list in docs/benchmarks.json, and the table in docs/benchmarks.md."""

import json
import operator
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Literal

import numpy as np

DOCS = Path(__file__).resolve().parents[2] / "docs"
JSON_FILE = DOCS / "benchmarks.json"
TABLE_FILE = DOCS / "benchmarks.md"
RELATIONS: dict[str, Callable[[float, float], bool]] = {"<": operator.lt, "<=": operator.le, ">=": operator.ge}


@dataclass(frozen=True)
class Goal:
    """A goal for the ratio, for what ours adds to the anchor, or for ours alone."""

    of: Literal["ratio", "added", "ours"]
    relation: Literal["<", "<=", ">="]
    bound: float

    def __str__(self) -> str:
        return f"{self.of} {self.relation} {self.bound:g}"

    def met(self, ours: float, anchor: float | None) -> bool:
        value = ours
        if self.of != "ours":
            assert anchor is not None, f"{self} needs an anchor"
            value = ours / anchor if self.of == "ratio" else ours - anchor
        return RELATIONS[self.relation](value, self.bound)


@dataclass(frozen=True)
class Result:
    """An entry of docs/benchmarks.json.

    `ratio` is ours / anchor. Both are null without an anchor, `goal` and `met` are null without a goal.
    """

    name: str
    unit: str
    ours: float
    anchor: float | None
    ratio: float | None
    goal: str | None
    met: bool | None

    def cells(self) -> tuple[str, ...]:
        """Return the cells of the entry's row in a table."""
        ours, anchor, ratio = ("" if value is None else f"{value:g}" for value in (self.ours, self.anchor, self.ratio))
        met = "" if self.met is None else "yes" if self.met else "no"
        return self.name, self.unit, ours, anchor, ratio, self.goal or "", met


def result(  # noqa: PLR0913 - the parts of an entry
    name: str,
    unit: str,
    ours: Sequence[float],
    anchor: Sequence[float] | None = None,
    *,
    scale: float = 1,
    of: Callable[[Sequence[float]], float] = median,
    goal: Goal | None = None,
) -> Result:
    """Return the entry for measurements, rounded to four digits after the comparison with the goal.

    `of` reduces the measurements to one figure, `scale` converts it to the unit.
    """
    mine, theirs = of(ours) * scale, None if anchor is None else of(anchor) * scale
    return Result(
        name=name,
        unit=unit,
        ours=_significant(mine),
        anchor=None if theirs is None else _significant(theirs),
        ratio=None if theirs is None else _significant(mine / theirs),
        goal=str(goal) if goal else None,
        met=goal.met(mine, theirs) if goal else None,
    )


def p99(values: Sequence[float]) -> float:
    return float(np.percentile(values, 99))


def read() -> list[Result]:
    """Return the entries of docs/benchmarks.json."""
    return [Result(**entry) for entry in json.loads(JSON_FILE.read_text("utf-8"))] if JSON_FILE.exists() else []


def merge(kept: Sequence[Result], new: Iterable[Result]) -> list[Result]:
    """Return the kept entries, replaced by new ones of the same name, and then the other new ones."""
    by_name = {entry.name: entry for entry in kept} | {entry.name: entry for entry in new}
    return list(by_name.values())


def write(entries: Sequence[Result], *, facts: Sequence[tuple[str, str]], explained: dict[str, str]) -> None:
    """Write both documents.

    `facts` about the measurement are listed above the table. `explained` says by name what an entry compares.
    """
    JSON_FILE.write_text(json.dumps([asdict(entry) for entry in entries], indent=2) + "\n", "utf-8")
    lines = [
        "# Benchmarks",
        "",
        "> No mocks, no bypasses, no invented values: measured on real servers, ours and the anchor by turns.",
        "",
        "The numbers are those of one machine on one day, and are in [benchmarks.json](benchmarks.json) too.",
        "`ratio` is ours / anchor. The anchor and the goal are empty where there is none.",
        "",
        *(f"- {name}: {value}" for name, value in facts),
        "",
        "| name | unit | ours | anchor | ratio | goal | met |",
        "|---|---|---:|---:|---:|---|---|",
        *(f"| {' | '.join(entry.cells())} |" for entry in entries),
        "",
        "## What is compared",
        "",
        *(f"- `{e.name}`: {explained[e.name]}" for e in entries if e.name in explained),
    ]
    TABLE_FILE.write_text("\n".join(lines) + "\n", "utf-8")


def _significant(value: float) -> float:
    return float(f"{value:.4g}")
