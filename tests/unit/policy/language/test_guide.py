"""The guide's examples are what it says they are: proved, refuted by that guarantee, refused for that reason.

Taken out of the document itself, so that it cannot say what does not happen.
"""

import copy
import re
from typing import Any

import pytest
import yaml
from sources import ROOT

from capsules.errors import ConstitutionRefused
from policy.prove.formatting import format_counterexample
from policy.prove.review import Candidate, load_candidate, review
from somagent.capsule_files.library import Library

GUIDE = (ROOT / "docs" / "constitutions.md").read_text("utf-8")
EXAMPLE = re.compile(r"<!-- example: (proved|refuted)( [a-z-]+)? -->\n```yaml\n(.*?)^```", re.MULTILINE | re.DOTALL)
EXAMPLES = [(outcome, name.strip(), text) for outcome, name, text in EXAMPLE.findall(GUIDE)]
ROW = re.compile(r"^\| `(.+?)` \| (.+?) \|$", re.MULTILINE)
REFUSED = ROW.findall(GUIDE.partition("<!-- example: refused -->")[2].partition("\n\nAn expression has")[0])
SAID = re.findall(r"```text\n(refuted .*?)```", GUIDE, re.DOTALL)


def read_candidate(text: str) -> Candidate:
    document: dict[str, Any] = yaml.safe_load(text)
    overlay = document["kind"] == "Overlay"
    return load_candidate(Library.load().constitution, [document]) if overlay else load_candidate(document)


def test_there_are_examples_of_each() -> None:
    assert sorted(outcome for outcome, _, _ in EXAMPLES) == ["proved", "proved", "refuted", "refuted"]
    assert GUIDE.count("```yaml") == len(EXAMPLES), "an example without its outcome"
    assert len(REFUSED) == 10
    assert len(SAID) == 3


@pytest.mark.parametrize(("outcome", "name", "text"), EXAMPLES, ids=lambda value: value[:12])
def test_an_example_is_what_the_guide_says(outcome: str, name: str, text: str) -> None:
    found = review(read_candidate(text))
    proofs = [*found.report.proofs, *([found.narrower] if found.narrower else [])]
    others = {proof.guarantee: proof.outcome for proof in proofs if proof.outcome != "proved"}
    assert others == ({} if outcome == "proved" else {name: "refuted"})
    if outcome == "refuted":
        (told,) = [said for said in SAID if said.startswith(f"refuted {name}\n")]
        sentence = next(proof.sentence for proof in proofs if proof.guarantee == name)
        assert sentence in told


def test_the_counterexample_of_the_small_one_is_the_one_shown() -> None:
    document = yaml.safe_load(EXAMPLES[0][2])
    del document["articles"]
    (refuted,) = [p for p in review(load_candidate(document)).report.proofs if p.outcome == "refuted"]
    (told,) = [said for said in SAID if said.startswith("refuted no-secret-leaves\n")]
    lines = [
        f"refuted {refuted.guarantee}",
        *(f"  {line}" for line in (refuted.sentence, *format_counterexample(refuted))),
    ]
    assert told.splitlines() == lines


@pytest.mark.parametrize(("expression", "why"), REFUSED)
def test_what_an_article_may_not_say_is_refused_for_that_reason(expression: str, why: str) -> None:
    document = copy.deepcopy(Library.load().constitution)
    document["articles"].append({"id": "mine", "forbid": expression, "because": "It is tried."})
    with pytest.raises(ConstitutionRefused) as refused:
        load_candidate(document)
    assert "clause 'mine', forbid: line 1, column " in refused.value.message
    assert why.replace("`", "") in refused.value.message.replace("`", "")
