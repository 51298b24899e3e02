"""The benchmark documents: entries of one shape, each with its row; no mocks, the figures are what `make bench` wrote."""

import json
import math

import pytest
from sources import ROOT

DOCS = ROOT / "docs"
ENTRIES = json.loads((DOCS / "benchmarks.json").read_text("utf-8"))
KEYS = {"name", "unit", "ours", "anchor", "ratio", "goal", "met"}


@pytest.mark.parametrize("entry", [pytest.param(entry, id=entry["name"]) for entry in ENTRIES])
def test_an_entry_has_its_seven_members_and_a_row_with_its_explanation(entry):
    assert entry.keys() == KEYS
    assert entry["ours"] > 0
    if entry["anchor"] is None:
        assert entry["ratio"] is None
    else:
        assert math.isclose(entry["ratio"], entry["ours"] / entry["anchor"], rel_tol=0.002)
    assert (entry["goal"] is None) == (entry["met"] is None)
    anchor = "" if entry["anchor"] is None else f"{entry['anchor']:g}"
    document = (DOCS / "benchmarks.md").read_text("utf-8")
    assert f"| {entry['name']} | {entry['unit']} | {entry['ours']:g} | {anchor} |" in document
    assert f"- `{entry['name']}`: " in document


def test_every_figure_of_the_foundation_is_there():
    names = [entry["name"] for entry in ENTRIES]
    assert len(set(names)) == len(names)
    assert {
        "governed-throughput",
        "governed-latency",
        "policy-decision",
        "sandbox-print",
        "chat-tokens",
        "start-run",
    } <= set(names)
