"""A change is shown by what it decides otherwise; an overlay may only narrow; a grant's scope lies within."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from policies import action, default, minimal, policy_of

from capsules.actions.action import Facts
from capsules.constitutions.proof import RecordedDecision
from capsules.errors import ConstitutionRefused, Invalid
from policy.decide.standing_grants import prove_scope
from policy.prove.comparison import backtest, compare
from policy.prove.overlay import apply_overlays, prove_narrower

BASE = policy_of(default())


def overlay(**clauses: Any) -> dict[str, Any]:
    return {
        "apiVersion": "somagent/v1", "kind": "Overlay", "metadata": {"name": "tenant", "version": "1.0.0"},
        "base": "default", **clauses,
    }  # fmt: skip


def test_a_version_that_says_the_same_in_other_words_changes_nothing() -> None:
    document = default()
    document["articles"][0]["forbid"] = "!(action.data != 'secret' || action.egress == 'none')"
    difference = compare(BASE, policy_of(document))
    assert difference.same
    assert [change.outcome for change in difference.changes] == ["none"] * 6


def test_each_way_in_which_a_decision_changes_has_an_action_that_shows_it() -> None:
    document = default()
    document["articles"] = document["articles"][1:]
    document["score"]["threshold"] = 0.7
    changes = {(c.before, c.after): c for c in compare(BASE, policy_of(document)).changes}
    newly_allowed, newly_asked = changes["deny", "allow"], changes["allow", "ask"]
    assert newly_allowed.action is not None
    assert newly_allowed.action.data == "secret"
    assert (newly_allowed.old and newly_allowed.old.decision, newly_allowed.new and newly_allowed.new.decision) == (
        "deny",
        "allow",
    )
    assert newly_asked.outcome == "found"
    assert "Newly asked, was allowed" in newly_asked.sentence
    assert changes["ask", "allow"].outcome == "none"


def test_versions_of_a_hundred_articles_are_compared_within_seconds() -> None:
    articles = [
        {"id": f"a{i}", "forbid": f"action.tokens > {1000 + i} && run.denials > {i % 7} && action.data == 'secret'", "because": "x"}
        for i in range(100)
    ]  # fmt: skip
    old, new = policy_of(minimal(articles=articles)), policy_of(minimal(articles=articles[1:]))
    difference = compare(old, new)
    assert difference.seconds < 10
    (changed,) = [c for c in difference.changes if c.outcome == "found"]
    assert changed.action is not None
    assert changed.facts is not None
    assert (changed.before, changed.after, changed.action.cost.tokens) == ("deny", "allow", 1001)


def test_an_overlay_that_adds_rules_is_proved_narrower() -> None:
    narrowed = apply_overlays(
        default(),
        [overlay(articles=[{"id": "no-pii-out", "forbid": "signals.pii > 0.0 && action.egress != 'none'", "because": "x"}],
                 score={"threshold": 0.6})],
    )  # fmt: skip
    assert narrowed["metadata"]["overlays"] == ["tenant@1.0.0"]
    assert prove_narrower(BASE, policy_of(narrowed)).outcome == "proved"


@pytest.mark.parametrize(
    ("clauses", "decisions"),
    [
        ({"articles": [{"id": "no-secret-egress", "forbid": "action.data == 'secret' && action.egress == 'open'", "because": "x"}]},
         ("deny", "allow")),
        ({"score": {"threshold": 0.5}}, ("ask", "allow")),
        ({"score": {"ask_from": 0.3}}, ("deny", "ask")),
        ({"approvals": [{"id": "destructive", "ask_when": "action.effect == 'destructive' && !action.reversible", "because": "x"}]},
         ("ask", "allow")),
        ({"approvals": [{"id": "destructive", "ask_when": "action.effect == 'destructive'", "capability": "approval:anybody", "because": "x"}]},
         ("ask", "ask")),
        ({"approvals": [{"id": "destructive", "ask_when": "action.effect == 'destructive'", "expires": "48h", "because": "x"}]},
         ("ask", "ask")),
    ],
)  # fmt: skip
def test_an_overlay_that_widens_is_refuted_by_an_action(clauses: dict[str, Any], decisions: tuple[str, str]) -> None:
    proof = prove_narrower(BASE, policy_of(apply_overlays(default(), [overlay(**clauses)])))
    assert proof.outcome == "refuted"
    assert tuple(witness.verdict.decision for witness in proof.witnesses) == decisions


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (overlay(), "adds nothing"),
        (overlay(base="other", score={"threshold": 0.9}), "is for 'other'"),
        (overlay(surprise=1), "surprise"),
        (overlay(kinds=["slm.chat"]), "kinds"),
    ],
)
def test_an_overlay_that_does_not_fit_is_refused(document: dict[str, Any], words: str) -> None:
    with pytest.raises(ConstitutionRefused, match=words):
        apply_overlays(default(), [document])


def test_an_overlay_may_not_change_a_sequence_that_others_read() -> None:
    sequence = {"id": "s", "start": "a", "transitions": [{"from": "a", "when": "true", "to": "b"}], "because": "x"}
    base = {**default(), "sequences": [sequence]}
    with pytest.raises(ConstitutionRefused, match="changes the sequence 's'"):
        apply_overlays(base, [overlay(sequences=[{**sequence, "start": "b"}])])


@pytest.mark.parametrize(
    ("scope", "outcome", "words"),
    [
        (
            "action.target.startsWith('python@') && action.data in ['public', 'internal'] && action.egress == 'none'",
            "proved",
            "within",
        ),
        ("action.target == 'python@1.0.0/run'", "refuted", "denied even in an ordinary run"),
        ("action.egress == 'none' && action.egress == 'open'", "refuted", "No action is in scope"),
    ],
)
def test_a_scope_is_proved_within_the_constitution_or_shown_not_to_be(scope: str, outcome: str, words: str) -> None:
    proof = prove_scope(BASE, scope, capability="approval:decide")
    assert (proof.outcome, words in proof.sentence) == (outcome, True)


def test_a_scope_speaks_of_actions_alone_and_for_one_capability() -> None:
    with pytest.raises(Invalid, match=r"there is no attribute 'run\.denials'"):
        prove_scope(BASE, "run.denials == 0", capability="approval:decide")
    elsewhere = prove_scope(BASE, "action.egress == 'none' && action.data == 'public'", capability="approval:finance")
    assert (elsewhere.outcome, "another approval" in elsewhere.sentence) == ("refuted", True)


def record(run: str, seq: int, **fields: Any) -> RecordedDecision:
    judged = action(**fields)
    verdict = BASE.evaluate(judged, Facts())
    at = datetime(2026, 11, 22, tzinfo=UTC) + timedelta(seconds=seq)
    return RecordedDecision(run=run, seq=seq, at=at, action=judged, facts=Facts(), verdict=verdict)


def test_a_backtest_gives_the_first_flip_of_each_run() -> None:
    stricter = policy_of(
        default(articles=[{"id": "no-write", "forbid": "action.effect == 'write'", "because": "Nothing is written."}])
    )
    recorded = [
        record("local/a/1", 3, effect="write"),
        record("local/a/1", 2, effect="write"),
        record("local/a/1", 1),
        record("local/b/1", 1),
        record("local/c/1", 9, effect="write"),
    ]
    found = backtest(stricter, recorded, skipped=2)
    assert (found.runs, found.actions, found.skipped) == (3, 5, 2)
    assert [(flip.run, flip.seq, flip.before, flip.after) for flip in found.flips] == [
        ("local/c/1", 9, "allow", "deny"), ("local/a/1", 2, "allow", "deny"),
    ]  # fmt: skip
    assert "no-write" in found.flips[0].sentence
