"""Every ask and deny says which clause, resting on what, what would be allowed instead, and who can approve."""

from hypothesis import HealthCheck, given, settings
from policies import action, actions, default, facts, policy_of
from properties import examples

from capsules.actions.action import Action, Facts
from policy.decide.decider import Decider
from policy.prove.explanations import explain
from policy.prove.solver import Solver

POLICY = policy_of(default())
QUESTION = Solver(POLICY)


def test_a_denial_cites_its_clause_and_what_it_rests_on() -> None:
    found = explain(QUESTION, action(data="secret", egress="open", effect="write"), Facts())
    (cited,) = found.cited
    assert cited.clause == "no-secret-egress"
    assert cited.attributes == {"action.data": "'secret'", "action.egress": "'open'"}
    assert [(a.attribute, a.to) for a in found.advice] == [("action.egress", "'none'")]
    assert found.advised is not None
    assert found.advised.verdict.decision == "allow"
    assert "would be allowed with action.egress = 'none'" in found.sentence
    assert found.approvers == ()


def test_a_question_says_who_can_approve_it() -> None:
    found = explain(QUESTION, action(effect="destructive"), Facts())
    assert found.approvers == ("approval:decide",)
    assert "Who has approval:decide can approve it" in found.sentence


def test_a_low_score_rests_on_every_attribute_that_keeps_it_low() -> None:
    found = explain(QUESTION, action(egress="open", reversible=False, idempotent=False), Facts(headroom=0.1))
    (cited,) = found.cited
    assert cited.clause == "ask_from"
    assert set(cited.attributes) >= {"action.egress", "action.reversible", "budget.headroom"}


def test_what_a_caller_cannot_change_has_no_advice() -> None:
    found = explain(QUESTION, action(), Facts(denials=25))
    assert (found.verdict.decision, found.advice, found.advised) == ("deny", (), None)


def test_a_budget_is_the_advice_where_only_headroom_is_missing() -> None:
    score = {"threshold": 0.9, "ask_from": 0.8, "features": [{"name": "room", "weight": 1, "value": "budget.headroom"}]}
    found = explain(
        Solver(policy_of(default(score=score, articles=[], approvals=[], guarantees=[]))),
        action(),
        Facts(headroom=0.3),
    )
    assert [(a.attribute, a.now, a.to) for a in found.advice] == [("budget.headroom", "0.3", "0.9")]


@given(asked=actions, known=facts)
@settings(max_examples=examples(25), deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_advice_is_true_and_citations_are_clauses(asked: Action, known: Facts) -> None:
    found = explain(QUESTION, asked, known)
    assert found.verdict == POLICY.evaluate(asked, known)
    if found.verdict.decision == "allow":
        assert not found.cited
        return
    assert found.cited
    assert set(found.verdict.clauses) <= {c.clause for c in found.cited}
    if found.advised is not None:
        assert POLICY.evaluate(found.advised.action, found.advised.facts).decision != "deny"
        assert found.advice


LIMITS = default(
    articles=[{"id": "never-77", "forbid": "action.tokens == 77", "because": "x"}],
    approvals=[
        {
            "id": "odd",
            "ask_when": "action.tokens > 300 && action.tokens < 310",
            "capability": "approval:finance",
            "because": "x",
        }
    ],
)
UNCERTAIN = Decider(policy_of(LIMITS))


def test_an_interval_is_decided_for_every_value_in_it() -> None:
    def decide(low: int, high: int) -> str:
        return UNCERTAIN.evaluate_ranges(action(), Facts(), {"action.tokens": (low, high)}).decision

    assert [decide(1, 76), decide(1, 77), decide(78, 300), decide(290, 301), decide(310, 500)] == [
        "allow", "deny", "allow", "ask", "allow",
    ]  # fmt: skip


def test_an_interval_asks_whom_any_value_in_it_asks() -> None:
    verdict = UNCERTAIN.evaluate_ranges(action(), Facts(), {"action.tokens": (290, 305)})
    assert [demand.capability for demand in verdict.demands] == ["approval:finance"]
    assert "action.tokens from 290 to 305" in verdict.sentence


def test_headroom_is_decided_by_its_low_end_without_a_search() -> None:
    decider = Decider(POLICY)
    assert decider.strict_ends == {"budget.headroom": 0}
    ranges = {"budget.headroom": (0, 1_000_000)}
    poor = decider.evaluate_ranges(
        action(egress="open", idempotent=False, reversible=False), Facts(headroom=1.0), ranges
    )
    assert poor.decision == "deny"
    assert decider.ends_decide(ranges)


def test_an_interval_that_cannot_be_decided_in_time_is_denied() -> None:
    verdict = Decider(policy_of(LIMITS)).evaluate_ranges(action(), Facts(), {"action.tokens": (1, 76)}, milliseconds=0)
    assert verdict.decision in {"deny", "allow"}
    if verdict.decision == "deny":
        assert "Not proved, so not allowed" in verdict.sentence


@given(asked=actions, known=facts)
@settings(max_examples=examples(30), deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_no_value_of_an_interval_is_decided_more_strictly_than_the_interval(asked: Action, known: Facts) -> None:
    strictness = {"allow": 0, "ask": 1, "deny": 2}
    ranges = {"action.tokens": (70, 80), "budget.headroom": (400_000, 600_000)}
    whole = strictness[UNCERTAIN.evaluate_ranges(asked, known, ranges).decision]
    for tokens in (70, 77, 80):
        for headroom in (0.4, 0.5, 0.6):
            cost = asked.cost.model_copy(update={"tokens": tokens})
            point = UNCERTAIN.policy.evaluate(
                asked.model_copy(update={"cost": cost}), known.model_copy(update={"headroom": headroom})
            )
            assert strictness[point.decision] <= whole
