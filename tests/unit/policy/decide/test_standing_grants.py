"""Which standing grants the gate offers to the ledger: for one person's yes, of that capability, by somebody else."""

import pytest

from capsules.actions.action import Action
from capsules.actions.ledger_messages import OpenGrant
from capsules.actions.verdict import Demand, Verdict
from capsules.digest import digest
from policy.decide.standing_grants import matching_grants

ACTION = Action(kind="tool.invoke", target="python@1.0.0/run", arguments=digest({}))


def open_grant(id_: str, scope: str = "action.kind == 'tool.invoke'", **changes: str) -> OpenGrant:
    return OpenGrant(**({"id": id_, "scope": scope, "capability": "approval:decide", "granted_by": "grace"} | changes))


def verdict(*demands: Demand, decision: str = "ask") -> Verdict:
    given = {"decision": decision, "score": 0, "threshold": 0, "sentence": "", "constitution": digest("one")}
    return Verdict(**given, demands=demands or (Demand(),))


def test_grants_that_fit_are_offered_in_their_order():
    assert matching_grants([open_grant("b"), open_grant("a")], ACTION, verdict(), "ada") == ("b", "a")


@pytest.mark.parametrize("decision", ["allow", "deny"])
def test_only_what_is_asked_is_offered_any(decision):
    assert matching_grants([open_grant("a")], ACTION, verdict(decision=decision), "ada") == ()


@pytest.mark.parametrize(
    "demands",
    [
        (Demand(quorum=2),),
        (Demand(capability="approval:money"),),
        (Demand(), Demand(capability="approval:money")),
        (Demand(), Demand(quorum=2)),
    ],
)
def test_a_grant_never_stands_for_a_quorum_or_for_another_capability(demands):
    assert matching_grants([open_grant("a")], ACTION, verdict(*demands), "ada") == ()


def test_rules_that_ask_for_the_same_person_are_met_by_one():
    assert matching_grants([open_grant("a")], ACTION, verdict(Demand(), Demand()), "ada") == ("a",)


def test_who_granted_is_not_offered_their_own():
    assert matching_grants([open_grant("a"), open_grant("b", granted_by="ada")], ACTION, verdict(), "ada") == ("a",)


@pytest.mark.parametrize(
    "scope", ["action.kind == 'slm.chat'", "action.nothing == 1", "action.tokens", "action.kind ==", "run.denials == 0"]
)
def test_a_scope_that_does_not_hold_or_cannot_be_evaluated_offers_nothing(scope):
    assert matching_grants([open_grant("a", scope), open_grant("b")], ACTION, verdict(), "ada") == ("b",)
