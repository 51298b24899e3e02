"""The sample overlays: samples by their own words, proved to narrow the shipped constitution, alone and together."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from sources import ROOT

from capsules.actions.action import Action, Facts
from capsules.digest import GENESIS
from policy.prove.review import load_candidate, review
from somagent.capsule_files.library import Library

OVERLAYS = sorted((ROOT / "capsules/library/constitutions/overlays").glob("*.yaml"))
SIGNALS = {"secrets": 0.0, "pii": 0.0, "injection": 0.0, "trust": 1.0}


def read_overlay(file: Path) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load(file.read_text("utf-8"))
    return document


def test_there_are_three() -> None:
    assert [file.stem for file in OVERLAYS] == ["costly-starts", "hipaa-like", "pci-like"]


@pytest.mark.parametrize("file", OVERLAYS, ids=lambda file: file.stem)
def test_a_sample_narrows_and_holds_its_own_guarantees(file: Path) -> None:
    found = review(load_candidate(Library.load().constitution, [read_overlay(file)]))
    assert found.narrower is not None
    assert found.narrower.outcome == "proved", found.narrower
    assert [proof.guarantee for proof in found.report.proofs if proof.outcome != "proved"] == []
    assert found.holds


def test_together_they_narrow_in_either_order() -> None:
    for order in (OVERLAYS, OVERLAYS[::-1]):
        assert review(load_candidate(Library.load().constitution, [read_overlay(file) for file in order])).holds


@pytest.mark.parametrize("file", OVERLAYS, ids=lambda file: file.stem)
def test_a_sample_says_that_it_is_one(file: Path) -> None:
    assert "A SAMPLE" in file.read_text("utf-8")
    if file.stem.endswith("-like"):
        assert "not compliance" in read_overlay(file)["because"]


@pytest.mark.parametrize(
    ("name", "signal"), [("hipaa-like", "pii"), ("pci-like", "pii"), ("pci-like", "secrets")], ids="-".join
)
def test_what_a_detector_saw_does_not_leave(name: str, signal: str) -> None:
    overlay = next(read_overlay(file) for file in OVERLAYS if file.stem == name)
    policy = load_candidate(Library.load().constitution, [overlay]).policy
    action = Action(kind="tool.invoke", target="python@1.0.0/run", egress="allowlist", arguments=GENESIS)
    assert policy.evaluate(action, Facts(signals=SIGNALS, standing=1.0)).decision == "allow"
    assert policy.evaluate(action, Facts(standing=1.0, signals=SIGNALS | {signal: 0.5})).decision == "deny"
