"""An action from a few attributes as text: what is said is taken, what is not said is ordinary."""

import pytest

from capsules.errors import Invalid
from policy.language.schema import ACTION_SCHEMA, sequence_schema
from policy.prove.hypothetical import hypothetical_action


def test_what_is_said_is_taken_and_the_rest_is_ordinary() -> None:
    given = {
        "action.kind": "slm.chat",
        "action.reversible": "false",
        "action.tokens": "12",
        "budget.headroom": "0.25",
        "signals.pii": "0.5",
        "run.parent": "'local/x/1'",
        "sequences.exposure": "exposed",
    }
    action, facts = hypothetical_action(given, sequence_schema({"exposure": ("clean", "exposed")}))
    assert (action.kind, action.reversible, action.cost.tokens, action.data) == ("slm.chat", False, 12, "internal")
    assert (facts.headroom, facts.parent, facts.sequences) == (0.25, "local/x/1", {"exposure": "exposed"})
    assert facts.signals == {"secrets": 0.0, "pii": 0.5, "injection": 0.0, "trust": 1.0}


@pytest.mark.parametrize(
    ("path", "text", "named"),
    [
        ("action.foo", "1", "There is no attribute 'action.foo'"),
        ("action.data", "public2", "action.data is one of 'public'"),
        ("budget.headroom", "1.5", "budget.headroom is a number with a point from 0 to 1"),
        ("budget.headroom", "NaN", "budget.headroom is a number"),
        ("run.denials", "-1", "run.denials is a whole number"),
        ("action.reversible", "yes", "action.reversible is true or false"),
        ("action.target", "", "action.target is a text"),
    ],
)
def test_what_cannot_be_is_named(path: str, text: str, named: str) -> None:
    with pytest.raises(Invalid, match=named):
        hypothetical_action({path: text}, ACTION_SCHEMA)
