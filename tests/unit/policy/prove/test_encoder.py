"""Evaluator and Z3 say the same of every action: a proof is about the code that decides.

Random constitutions in the whole grammar of the language, and actions at the corners of what their clauses look at.
"""

from typing import Any

import z3
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from policies import DEFAULT, actions, documents, facts, policy_of
from properties import examples

from capsules.actions.action import Action, Facts
from capsules.actions.verdict import PPM
from policy.decide.engine import Policy
from policy.prove.solver import Solver

SLOW = settings(
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    # A random constitution that disagrees is small enough to read; shrinking one takes minutes.
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
)
DEFAULT_POLICY = policy_of(DEFAULT)
DEFAULT_QUESTION = Solver(DEFAULT_POLICY)
judged = st.tuples(actions, facts)


Judged = tuple[Action, Facts]


def prove_the_same(policy: Policy, question: Solver, many: list[Judged]) -> None:
    """Z3 holds the engine's decision possible for each action, and no other."""
    for action, known in many:
        fixed = question.fix(action, known).values()
        same = question.encoded.term_of(policy.evaluate(action, known).decision)
        assert question.check(*fixed, same, milliseconds=5000) is True
        assert question.check(*fixed, z3.Not(same), milliseconds=5000) is False


@given(document=documents(), many=st.lists(judged, min_size=10, max_size=10))
@settings(SLOW, max_examples=examples(25))
def test_z3_decides_as_the_engine_under_random_constitutions(document: dict[str, Any], many: list[Judged]) -> None:
    policy = policy_of(document)
    prove_the_same(policy, Solver(policy), many)


@given(many=st.lists(judged, min_size=20, max_size=20))
@settings(SLOW, max_examples=examples(15))
def test_z3_decides_as_the_engine_under_the_shipped_constitution(many: list[Judged]) -> None:
    prove_the_same(DEFAULT_POLICY, DEFAULT_QUESTION, many)


@given(one=judged)
@settings(SLOW, max_examples=examples(60))
def test_the_score_is_the_weighted_sum_of_its_contributions(one: tuple[Action, Facts]) -> None:
    verdict = DEFAULT_POLICY.evaluate(*one)
    assert verdict.score == sum(c.weight * c.value for c in verdict.contributions) // PPM
    assert verdict.margin == verdict.score - verdict.threshold
