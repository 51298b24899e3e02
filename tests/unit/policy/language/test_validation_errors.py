"""Bad constitutions and overlays: each is refused with an error that names the clause and what is wrong with it."""

import copy
from collections.abc import Callable
from typing import Any

import pytest

from capsules.errors import ConstitutionRefused
from policy.prove.review import load_candidate, review
from somagent.capsule_files.library import Library

Document = dict[str, Any]
Change = Callable[[Document], None]


def default() -> Document:
    return copy.deepcopy(Library.load().constitution)


def overlay(**clauses: Any) -> Document:
    return {
        "apiVersion": "somagent/v1",
        "kind": "Overlay",
        "metadata": {"name": "over", "version": "1.0.0"},
        "base": "default",
        **clauses,
    }


def article(text: str, name: str = "mine") -> dict[str, str]:
    return {"id": name, "forbid": text, "because": "It is tried."}


def add_article(text: str) -> Change:
    return lambda document: document["articles"].append(article(text))


def duplicate_clause(group: str) -> Change:
    return lambda document: document[group].append(copy.deepcopy(document[group][0]))


def set_weight(first: float) -> Change:
    return lambda document: document["score"]["features"][0].update(weight=first)


def sequence(*moves: tuple[str, str, str]) -> Change:
    steps = [{"from": start, "when": when, "to": to} for start, when, to in moves]
    return lambda document: document.update(
        sequences=[{"id": "exposure", "start": "clean", "transitions": steps, "because": "It is tried."}]
    )


REFUSED: dict[str, tuple[Change, tuple[str, ...]]] = {
    "two articles with one id": (duplicate_clause("articles"), ("two clauses have one id", "no-secret-egress")),
    "two approval rules with one id": (duplicate_clause("approvals"), ("two clauses have one id", "destructive")),
    "a guarantee with an article's id": (
        lambda d: d["guarantees"].append({"id": "no-secret-egress", "never": "denied"}),
        ("two clauses have one id", "no-secret-egress"),
    ),
    "two features with one name": (
        lambda d: d["score"]["features"][1].update(name="reversibility"),
        ("score", "two features have one name", "reversibility"),
    ),
    "weights that do not sum to one": (set_weight(0.3), ("score", "the weights sum to 1.1; they must sum to 1")),
    "a weight above one": (set_weight(1.5), ("'reversibility', weight",)),
    "ask_from above the threshold": (
        lambda d: d["score"].update(ask_from=0.9),
        ("ask_from (0.9) is above threshold (0.55)",),
    ),
    "a threshold above one": (lambda d: d["score"].update(threshold=1.5), ("score.threshold",)),
    "an unknown attribute": (
        add_article("action.dta == 'x'"),
        ("clause 'mine', forbid", "line 1, column 1", "action.dta"),
    ),
    "a value that an attribute never has": (add_article("action.data == 'top'"), ("'mine'", "never 'top'")),
    "an article that is no condition": (
        add_article("action.tokens + 1"),
        ("'mine'", "a condition gives true or false"),
    ),
    "a guarantee about nothing": (
        lambda d: d["guarantees"].append({"id": "raise-it", "raising": "action.x", "never_flips": "deny_to_allow"}),
        ("'raise-it', raising", "there is no attribute 'action.x'"),
    ),
    "a guarantee of two forms": (
        lambda d: d["guarantees"][0].update(raising="action.egress"),
        ("'secrets-stay'", "has either `never`, or `raising`"),
    ),
    "an expression that is too long": (
        add_article(" || ".join(["action.reversible"] * 400)),
        ("'mine'", "at most 4096 characters"),
    ),
    "an expression that is nested too deep": (
        add_article("(" * 40 + "action.reversible" + ")" * 40),
        ("'mine'", "line 1, column 33", "nested more than 32 deep"),
    ),
    "an expression with too many parts": (
        add_article("||".join(["1<2"] * 600)),
        ("'mine'", "too many parts"),
    ),
    "a pattern in an article": (
        add_article("action.target.matches('^(a+)+$')"),
        ("'mine'", "no proof can look into this"),
    ),
    "a pattern that is too long": (add_article(f"action.target.matches('{'a' * 300}')"), ("'mine'", "at most 200")),
    "numbers that could overflow": (add_article("action.tokens * action.micro_usd > 1"), ("'mine'", "can overflow")),
    "an optional attribute that nobody asked for": (add_article("run.parent == 'x'"), ("'mine'", "has(run.parent)")),
    "a sequence's move that does not read": (
        sequence(("clean", "action.dta == 'secret'", "exposed")),
        ("exposure: clean -> exposed", "action.dta"),
    ),
    "a sequence's state that cannot be a name": (sequence(("clean", "true", "Very Exposed")), ("'exposure', to",)),
    "a document that is too large": (
        lambda d: d["articles"][0].update(because="x" * 300_000),
        ("bytes of at most 262,144",),
    ),
    "no score": (lambda d: d.pop("score"), ("score: Field required",)),
    "another kind of document": (lambda d: d.update(kind="Capsule"), ("kind",)),
}

NOT_PROVED: dict[str, tuple[Change, str, str]] = {
    "a guarantee that does not hold": (lambda d: d["articles"].pop(0), "secrets-stay", "refuted"),
    "a feature that leaves its range": (
        lambda d: d["score"]["features"][0].update(value="action.reversible ? 1.0 : 1.5"),
        "reversibility-in-range",
        "refuted",
    ),
    "an article that nothing meets": (
        add_article("action.data == 'secret' && action.data == 'public'"),
        "mine-can-hold",
        "refuted",
    ),
    "an article that forbids everything": (add_article("true"), "mine-spares-some", "refuted"),
    "a threshold that nothing reaches": (
        lambda d: (
            d["score"].update(threshold=1.0),
            d["score"]["features"][0].update(value="action.reversible ? 0.5 : 0.0"),
        ),
        "something-is-allowed",
        "refuted",
    ),
    "moves of a sequence that contradict each other": (
        sequence(("clean", "action.data == 'secret'", "exposed"), ("clean", "action.egress == 'open'", "gone")),
        "exposure-clean",
        "refuted",
    ),
}

WIDENING: dict[str, Document] = {
    "an article made weaker": overlay(
        articles=[article("action.data == 'secret' && action.egress == 'open'", "no-secret-egress")]
    ),
    "an approval that lasts longer": overlay(
        approvals=[
            {"id": "destructive", "ask_when": "action.effect == 'destructive'", "expires": "48h", "because": "b"}
        ]
    ),
    "a lower threshold": overlay(score={"threshold": 0.45}),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_bad_constitution_is_refused_and_its_clause_named(what: str) -> None:
    change, named = REFUSED[what]
    document = default()
    change(document)
    with pytest.raises(ConstitutionRefused) as refused:
        load_candidate(document)
    for text in named:
        assert text in refused.value.message, refused.value.message


@pytest.mark.parametrize("what", NOT_PROVED)
def test_what_does_not_hold_is_not_proved_and_its_clause_named(what: str) -> None:
    change, guarantee, outcome = NOT_PROVED[what]
    document = default()
    change(document)
    found = review(load_candidate(document))
    assert not found.holds
    assert any(p.guarantee.startswith(guarantee) and p.outcome == outcome for p in found.report.proofs), [
        (p.guarantee, p.outcome) for p in found.report.proofs if p.outcome != "proved"
    ]


@pytest.mark.parametrize("what", WIDENING)
def test_an_overlay_that_widens_is_refuted(what: str) -> None:
    found = review(load_candidate(default(), [WIDENING[what]]))
    assert not found.holds
    assert found.narrower is not None
    assert found.narrower.outcome == "refuted"
    assert len(found.narrower.witnesses) == 2


@pytest.mark.parametrize(
    ("bad", "named"),
    [
        (overlay(articles=[article("action.dta == 'x'")]), "clause 'mine', forbid"),
        (overlay(articles=[{"id": "mine", "forbid": "true"}]), "clause 'mine', because"),
        (overlay() | {"base": "another", "score": {"threshold": 0.6}}, "is for 'another', not for 'default'"),
        (overlay(), "the overlay adds nothing"),
    ],
    ids=["unknown attribute", "no reason", "another base", "nothing"],
)
def test_a_bad_overlay_is_refused_and_its_clause_named(bad: Document, named: str) -> None:
    with pytest.raises(ConstitutionRefused) as refused:
        load_candidate(default(), [bad])
    assert named in refused.value.message, refused.value.message


def test_a_review_that_takes_too_long_ends_and_is_not_proved() -> None:
    found = review(load_candidate(default()), total=0.0)
    assert [proof.guarantee for proof in found.report.proofs][1:] == ["in-time"]
    assert not found.holds
