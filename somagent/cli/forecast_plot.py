"""Plot of forecasts and usage: one panel for each capsule and model, oldest run first.

Needs matplotlib, which the extra `plots` installs.
"""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl

mpl.use("agg")  # writes files and needs no display
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from capsules.forecasts.forecast import Accuracy, PastRun

BAND, LIKELY, HELD, MISSED = "#c9d8ea", "#2f6199", "#1c1c1c", "#b3261e"


def draw(past: Sequence[PastRun], found: Sequence[Accuracy], file: Path) -> None:
    """Write a PNG or SVG file by its suffix. Runs without a learned forecast are not drawn."""
    panels_of: dict[tuple[str, str], list[PastRun]] = defaultdict(list)
    for one in past:
        if one.forecast.basis != "static":
            panels_of[one.shape.capsule, one.shape.model].append(one)
    known = {(one.capsule, one.model): one for one in found}
    count = max(1, len(panels_of))
    figure, panels = plt.subplots(count, 1, figsize=(9, 2.8 * count), squeeze=False, layout="constrained")
    for axes, (name, runs) in zip(panels[:, 0], sorted(panels_of.items()), strict=False):
        _panel(axes, runs, known.get(name))
    if not panels_of:
        panels[0, 0].set_axis_off()
        panels[0, 0].set_title("No data: no completed run had a learned forecast yet")
    figure.savefig(file, dpi=150)
    plt.close(figure)


def _panel(axes: Axes, runs: Sequence[PastRun], accuracy: Accuracy | None) -> None:
    at = range(1, len(runs) + 1)
    intervals = [one.forecast.tokens for one in runs]
    axes.fill_between(
        at, [i.low for i in intervals], [i.high for i in intervals], color=BAND, step="mid", label="90 % interval"
    )
    axes.step(at, [i.likely for i in intervals], where="mid", color=LIKELY, linewidth=1, label="likely")
    held = [i.low <= one.tokens <= i.high for i, one in zip(intervals, runs, strict=True)]
    for wanted, color, label in ((True, HELD, "took"), (False, MISSED, "took, outside")):
        points = [(n, one.tokens) for n, one, inside in zip(at, runs, held, strict=True) if inside is wanted]
        if points:
            axes.scatter([x for x, _ in points], [y for _, y in points], s=12, color=color, zorder=3, label=label)
    shape = runs[0].shape
    title = f"{shape.capsule} on {shape.model or 'no model'}"
    if accuracy is not None and accuracy.runs:
        title += f": {accuracy.covered / accuracy.runs:.1%} of {accuracy.runs} held"
        title += f", MAPE {accuracy.mape:.1f} %" if accuracy.mape is not None else ""
    axes.set_title(title, loc="left", fontsize=10)
    axes.set_ylabel("tokens")
    axes.set_xlabel("completed runs, oldest first")
    axes.set_ylim(bottom=0)
    axes.margins(x=0.01)
    axes.legend(fontsize=8, ncols=4, frameon=False)
