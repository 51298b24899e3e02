"""Expressions are typed before they are used: what is wrong is said with its line and column."""

import pytest
from policies import minimal, policy_of

from capsules.errors import ConstitutionRefused, Invalid
from policy.language.schema import ACTION_SCHEMA
from policy.language.type_checker import require_provable, type_condition, type_number
from policy.language.typed_tree import reads


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("action.egres == 'none'", "line 1, column 1: there is no attribute 'action.egres'"),
        ("action.reversible &&\n  acton.x", "line 2, column 3: there is no attribute 'acton.x'"),
        ("action.egress == 'non'", "line 1, column 18: action.egress is one of"),
        ("action.kind in ['slm.chat', 'x']", "never 'x'"),
        ("action.tokens > 5.0", "write 1.0"),
        ("action.tokens", "this gives a whole number"),
        ("action.reversible < true", "does not order"),
        ("run.parent == 'a'", "has(run.parent)"),
        ("has(run.parent) || run.parent == 'a'", "has(run.parent)"),
        ("action.tokens * action.tokens > 4", "can overflow"),
        ("action.tokens * 100000000 > 4", "can overflow 64 bits"),
        ("action.tokens / 0 == 1", "constant above zero"),
        ("10 / (action.tokens - 5) > 3", "line 1, column 1"),
        ("budget.headroom > 0.1234567", "more than six decimals"),
        ("true &&", "line 1, column"),
        ("", "line 1, column 1"),
        ("action['kind'] == 'a'", "an index is not part"),
        ("null == null", "null is of a kind"),
        ("action.kind == 1", "compares"),
        ("exec('x')", "there is no function 'exec'"),
        ("action.target.split('/') == 'a'", "there is no method 'split'"),
        ("(" * 40 + "true" + ")" * 40, "nested more than 32 deep"),
        ("||".join(["1<2"] * 700), "too many parts"),
        ("true || " * 600 + "true", "at most 4096 characters"),
        ("action.target.matches('" + "a" * 300 + "')", "a pattern has at most 200"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(text: str, words: str) -> None:
    with pytest.raises(Invalid) as caught:
        type_condition(text, ACTION_SCHEMA)
    assert words in caught.value.message
    assert caught.value.message.startswith("line ")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("action.target.contains('secret')", "looks inside a text"),
        ("action.target.matches('^a+$')", "looks inside a text"),
        ("actor.subject == actor.tenant", "two texts that vary"),
        ("size(action.target) > 3", "length of a text"),
        ("0.1 + budget.headroom < 0.3", "round-off"),
        ("['a', 'b'].exists(x, x == action.target)", "macro 'exists'"),
        ("action.target < 'b'", "put in order"),
    ],
)
def test_what_no_proof_can_look_into_is_refused_for_articles_and_allowed_in_features(text: str, why: str) -> None:
    with pytest.raises(Invalid, match="no proof can look into this"):
        require_provable(type_condition(text, ACTION_SCHEMA))
    with pytest.raises(ConstitutionRefused, match=f"'it'.*{why}"):
        policy_of(minimal(articles=[{"id": "it", "forbid": text, "because": "x"}]))
    score = {
        "threshold": 0.5,
        "ask_from": 0.2,
        "features": [{"name": "f", "weight": 1, "value": f"{text} ? 1.0 : 0.5"}],
    }
    assert policy_of(minimal(score=score)).constitution.score.features[0].name == "f"


def test_a_constitution_with_several_errors_names_each() -> None:
    articles = [{"id": f"a{i}", "forbid": f"action.nothing{i}", "because": "x"} for i in range(3)]
    with pytest.raises(ConstitutionRefused) as caught:
        policy_of(minimal(articles=articles))
    assert all(f"'a{i}'" in caught.value.message for i in range(3))


def test_an_expression_knows_every_attribute_that_it_looks_at() -> None:
    tree = type_number(
        "has(run.parent) && action.reversible ? budget.headroom : double(action.tokens) / 4.0", ACTION_SCHEMA
    )
    assert reads(tree) == {"run.parent", "action.reversible", "budget.headroom", "action.tokens"}
    macro = type_condition("['a'].exists(x, x == action.target && run.denials > 1)", ACTION_SCHEMA)
    assert reads(macro) == {"action.target", "run.denials"}
