"""The policy decides by articles, then approval rules, then score; and never lets a doubt through."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capsules.actions.action import Action, Facts
from capsules.actions.verdict import PPM
from capsules.budgets.amounts import Amounts
from capsules.digest import digest
from capsules.errors import ConstitutionRefused
from policy.decide.engine import Policy
from policy.language.constitution import document_digest, parse

ARGUMENTS = digest({})
ORDER = {"deny": 0, "ask": 1, "allow": 2}

actions = st.builds(
    Action,
    kind=st.sampled_from(["slm.chat", "tool.invoke", "memory.recall", "artifact.publish"]),
    target=st.sampled_from(["dialogue", "python@1.0.0/run", "default"]),
    effect=st.sampled_from(["read", "write", "destructive"]),
    reversible=st.booleans(),
    egress=st.sampled_from(["none", "allowlist", "open"]),
    data=st.sampled_from(["public", "internal", "confidential", "secret"]),
    idempotent=st.booleans(),
    cost=st.builds(Amounts, tokens=st.integers(0, 10**6), tool_calls=st.integers(0, 5)),
    arguments=st.just(ARGUMENTS),
)
facts = st.builds(
    Facts,
    autonomy=st.sampled_from(["manual", "supervised", "autonomous"]),
    headroom=st.floats(0, 1),
    denials=st.integers(0, 20),
)


def document(**changes: object) -> dict[str, object]:
    base: dict[str, object] = {
        "apiVersion": "somagent/v1",
        "kind": "Constitution",
        "metadata": {"name": "test", "version": "1.0.0"},
        "score": {
            "threshold": 0.55,
            "ask_from": 0.4,
            "features": [
                {"name": "reversibility", "weight": 0.3, "value": "action.reversible ? 1.0 : 0.2"},
                {
                    "name": "containment",
                    "weight": 0.3,
                    "value": "action.egress == 'none' ? 1.0 : action.egress == 'allowlist' ? 0.6 : 0.0",
                },
                {"name": "headroom", "weight": 0.4, "value": "budget.headroom"},
            ],
        },
        "articles": [
            {
                "id": "no-leak",
                "forbid": "action.data == 'secret' && action.egress != 'none'",
                "because": "Secrets stay.",
            }
        ],
        "approvals": [
            {"id": "destructive", "ask_when": "action.effect == 'destructive'", "because": "Nothing comes back."}
        ],
    }
    return {**base, **changes}


def policy(**changes: object) -> Policy:
    written = document(**changes)
    return Policy(parse(written), document_digest(written))


def action(**changes: object) -> Action:
    return Action.model_validate(
        {"kind": "tool.invoke", "target": "python@1.0.0/run", "arguments": ARGUMENTS, **changes}
    )


def test_a_harmless_action_is_allowed_with_its_score_and_contributions() -> None:
    verdict = policy().evaluate(action(), Facts())
    assert verdict.decision == "allow"
    assert verdict.score == PPM
    assert sum(c.points for c in verdict.contributions) == PPM


def test_an_article_denies_whatever_the_score_and_names_itself() -> None:
    verdict = policy().evaluate(action(data="secret", egress="allowlist"), Facts())
    assert (verdict.decision, verdict.clauses) == ("deny", ("no-leak",))
    assert "Secrets stay." in verdict.sentence


def test_an_approval_rule_asks_and_names_itself() -> None:
    verdict = policy().evaluate(action(effect="destructive"), Facts())
    assert (verdict.decision, verdict.clauses) == ("ask", ("destructive",))


def test_a_score_between_the_thresholds_asks_and_below_both_denies() -> None:
    between = policy().evaluate(action(reversible=False, egress="none"), Facts(headroom=0.3))
    below = policy().evaluate(action(reversible=False, egress="open"), Facts(headroom=0.1))
    assert (between.decision, below.decision) == ("ask", "deny")
    assert between.score == 480_000
    assert "reversibility" in below.sentence or "containment" in below.sentence


def test_a_kind_that_the_constitution_does_not_know_is_denied() -> None:
    assert policy(kinds=["slm.chat"]).evaluate(action(), Facts()).decision == "deny"


def test_what_was_not_measured_denies_and_says_which_clause_needs_it() -> None:
    unmeasured = policy(articles=[{"id": "no-secrets", "forbid": "signals.secrets > 0.5", "because": "x"}])
    verdict = unmeasured.evaluate(action(), Facts())
    assert (verdict.decision, verdict.clauses) == ("deny", ("no-secrets",))
    assert "signals.secrets" in verdict.sentence
    assert unmeasured.evaluate(action(), Facts(signals={"secrets": 0.0})).decision == "allow"


def test_an_expression_that_could_fail_on_some_action_is_refused() -> None:
    with pytest.raises(ConstitutionRefused, match=r"divides.*line 1, column 1"):
        policy(articles=[{"id": "divides", "forbid": "10 / (action.tokens - 5) > 3", "because": "x"}])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"articles": [{"id": "typo", "forbid": "action.egres == 'none'", "because": "x"}]}, "typo"),
        ({"articles": [{"id": "open", "forbid": "action.egress == ", "because": "x"}]}, "open"),
        ({"articles": [{"id": "number", "forbid": "1 + 1", "because": "x"}]}, "number"),
        ({"score": {"threshold": 0.5, "ask_from": 0.6, "features": [{"name": "a", "weight": 1, "value": "1.0"}]}}, "ask_from"),
        ({"score": {"threshold": 0.5, "ask_from": 0.4, "features": [{"name": "a", "weight": 0.9, "value": "1.0"}]}}, "sum to 0.9"),
        ({"score": {"threshold": 0.5, "ask_from": 0.4, "features": [{"name": "a", "weight": 1, "value": "2.0"}]}}, "0 to 1"),
        ({"articles": [{"id": "same", "forbid": "false", "because": "x"}] * 2}, "same"),
        ({"surprise": 1}, "surprise"),
    ],
)  # fmt: skip
def test_a_constitution_that_is_wrong_is_refused_and_says_where(changes: dict[str, object], words: str) -> None:
    with pytest.raises(ConstitutionRefused, match=words):
        policy(**changes)


@given(actions, facts)
def test_the_same_action_always_gets_the_same_verdict(judged: Action, known: Facts) -> None:
    assert policy().evaluate(judged, known) == policy().evaluate(judged, known)


@given(actions, facts)
def test_one_more_article_never_widens(judged: Action, known: Facts) -> None:
    more = [*document()["articles"], {"id": "more", "forbid": "action.tokens > 1000", "because": "x"}]  # type: ignore[misc]
    assert (
        ORDER[policy(articles=more).evaluate(judged, known).decision]
        <= ORDER[policy().evaluate(judged, known).decision]
    )


@given(actions, st.floats(0, 1), st.floats(0, 1))
def test_less_headroom_never_widens(judged: Action, one: float, other: float) -> None:
    low, high = sorted((one, other))
    less = policy().evaluate(judged, Facts(headroom=low)).decision
    assert ORDER[less] <= ORDER[policy().evaluate(judged, Facts(headroom=high)).decision]
