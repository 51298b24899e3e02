"""Measured figures beside their anchors: the list in docs/benchmarks.json, and the table made from that list."""

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
    """What is to be reached: of the ratio, of what ours adds to the anchor, or of ours alone."""

    of: Literal["ratio", "added", "ours"]
    relation: Literal["<", "<=", ">="]
    bound: float

    def __str__(self) -> str:
        return f"{self.of} {self.relation} {self.bound:g}"

    def met(self, ours: float, anchor: float | None) -> bool:
        if anchor is None:
            assert self.of == "ours", f"{self} needs an anchor"
            value = ours
        else:
            value = {"ratio": ours / anchor, "added": ours - anchor, "ours": ours}[self.of]
        return RELATIONS[self.relation](value, self.bound)


@dataclass(frozen=True)
class Result:
    """An entry of docs/benchmarks.json.

    `ratio` is ours / anchor; both are null where nothing else does the like. `goal` and `met` are where none was set.
    """

    name: str
    unit: str
    ours: float
    anchor: float | None
    ratio: float | None
    goal: str | None
    met: bool | None


def result(  # noqa: PLR0913 - what an entry consists of
    name: str,
    unit: str,
    ours: Sequence[float],
    anchor: Sequence[float] | None = None,
    *,
    scale: float = 1,
    of: Callable[[Sequence[float]], float] = median,
    goal: Goal | None = None,
) -> Result:
    """Return the entry of measurements, rounded to what a reader needs; the goal is compared before rounding.

    `of` makes one figure of the measurements, `scale` turns it into the unit.
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
    """Return the entries kept so far."""
    return [Result(**entry) for entry in json.loads(JSON_FILE.read_text("utf-8"))] if JSON_FILE.exists() else []


def merged(kept: Sequence[Result], new: Iterable[Result]) -> list[Result]:
    """Return the kept entries with the new ones in their places; names not seen before come last."""
    by_name = {entry.name: entry for entry in kept} | {entry.name: entry for entry in new}
    return list(by_name.values())


def write(entries: Sequence[Result], *, facts: Sequence[tuple[str, str]], explained: dict[str, str]) -> None:
    """Write both documents.

    facts: what is known about the run, for the list above the table.
    explained: what each entry compares, by name; an entry of another version keeps its row without one.
    """
    JSON_FILE.write_text(json.dumps([asdict(entry) for entry in entries], indent=2) + "\n", "utf-8")
    rows = [
        f"| {e.name} | {e.unit} | {e.ours:g} | {figure(e.anchor)} | {figure(e.ratio)} | {e.goal or ''} | {met(e)} |"
        for e in entries
    ]
    lines = [
        "# Benchmarks",
        "",
        "> No mocks, no bypasses, no invented values: measured on real servers, ours and the anchor by turns.",
        "",
        "The numbers are those of one machine on one day, and are in [benchmarks.json](benchmarks.json) too.",
        "`ratio` is ours / anchor. The anchor is empty where nothing else does the like, the goal where none was set.",
        "",
        *(f"- {name}: {value}" for name, value in facts),
        "",
        "| name | unit | ours | anchor | ratio | goal | met |",
        "|---|---|---:|---:|---:|---|---|",
        *rows,
        "",
        "## What is compared",
        "",
        *(f"- `{e.name}`: {explained[e.name]}" for e in entries if e.name in explained),
    ]
    TABLE_FILE.write_text("\n".join(lines) + "\n", "utf-8")


def met(entry: Result) -> str:
    return "" if entry.met is None else "yes" if entry.met else "no"


def figure(value: float | None) -> str:
    return "" if value is None else f"{value:g}"


def _significant(value: float) -> float:
    return float(f"{value:.4g}")
