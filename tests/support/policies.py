"""Constitutions and actions for tests of the policy: a base document, and random ones in the language's own grammar."""

import copy
from typing import Any

import yaml
from hypothesis import strategies as st
from sources import ROOT

from capsules.actions.action import Action, Facts
from capsules.budgets.amounts import Amounts
from capsules.digest import GENESIS
from policy.decide.engine import Policy
from policy.language.constitution import document_digest, parse

DEFAULT: dict[str, Any] = yaml.safe_load((ROOT / "capsules/library/constitutions/default.yaml").read_text())


def default(**changes: Any) -> dict[str, Any]:
    """Return the shipped constitution with top-level members replaced."""
    return {**copy.deepcopy(DEFAULT), **changes}


def policy_of(document: dict[str, Any]) -> Policy:
    return Policy(parse(document), document_digest(document))


def minimal(**changes: Any) -> dict[str, Any]:
    """Return a constitution that allows everything, with top-level members replaced."""
    return {
        "apiVersion": "somagent/v1",
        "kind": "Constitution",
        "metadata": {"name": "default", "version": "1.0.0"},
        "score": {"threshold": 0.5, "ask_from": 0.2, "features": [{"name": "even", "weight": 1, "value": "1.0"}]},
        **changes,
    }


def action(**fields: Any) -> Action:
    return Action(**{"kind": "tool.invoke", "target": "python@1.0.0/run", "arguments": GENESIS, **fields})


TARGETS = ("python@1.0.0/run", "python@2.0.0/run", "shell@1.0.0/run", "dialogue", "", "pythö")
WHOLE = ("action.tokens", "action.micro_usd", "action.tool_calls", "run.denials")
POINTED = ("budget.headroom", "actor.standing", "signals.secrets")
CHOICES = {
    "action.effect": ("read", "write", "destructive"),
    "action.egress": ("none", "allowlist", "open"),
    "action.data": ("public", "internal", "confidential", "secret"),
    "run.autonomy": ("manual", "supervised", "autonomous"),
    "action.kind": ("slm.chat", "tool.invoke", "memory.recall"),
}
CORNERS = (0, 1, 2, 3, 99, 100, 101, 1000)
SHARES = (0.0, 0.000001, 0.25, 0.333333, 0.499999, 0.5, 0.500001, 0.75, 0.999999, 1.0)
ORDERS = ("==", "!=", "<", "<=", ">", ">=")

actions = st.builds(
    Action,
    kind=st.sampled_from(["slm.chat", "tool.invoke", "memory.recall", "artifact.publish", "capsule.start"]),
    target=st.sampled_from(TARGETS),
    effect=st.sampled_from(CHOICES["action.effect"]),
    reversible=st.booleans(),
    egress=st.sampled_from(CHOICES["action.egress"]),
    data=st.sampled_from(CHOICES["action.data"]),
    idempotent=st.booleans(),
    cost=st.builds(
        Amounts,
        tokens=st.sampled_from(CORNERS) | st.integers(0, 10**6),
        micro_usd=st.sampled_from(CORNERS) | st.integers(0, 10**9),
        tool_calls=st.sampled_from(CORNERS),
    ),
    arguments=st.just(GENESIS),
)
facts = st.builds(
    Facts,
    autonomy=st.sampled_from(CHOICES["run.autonomy"]),
    headroom=st.sampled_from(SHARES) | st.floats(0, 1),
    denials=st.sampled_from(CORNERS),
    parent=st.none() | st.sampled_from(["local/a/1", "local/b/2"]),
    actor=st.sampled_from(["operator", "ana", ""]),
    tenant=st.just("local"),
    standing=st.sampled_from(SHARES) | st.floats(0, 1),
    signals=st.fixed_dictionaries({"secrets": st.sampled_from(SHARES)}),
)


def _atom() -> st.SearchStrategy[str]:
    whole = st.builds(
        "{} {} {}".format, st.sampled_from(WHOLE), st.sampled_from(ORDERS), st.sampled_from([str(c) for c in CORNERS])
    )
    computed = st.builds(
        "{0} + 2 * {1} - 3 >= {2} / 2".format, st.sampled_from(WHOLE), st.sampled_from(WHOLE), st.sampled_from(WHOLE)
    )
    pointed = st.builds(
        "{}{} {} {}".format, st.sampled_from(["", "2.0 * ", "0.5 * "]), st.sampled_from(POINTED), st.sampled_from(ORDERS),
        st.sampled_from([f"{s:f}" for s in SHARES]),
    )  # fmt: skip
    chosen = st.sampled_from([f"{path} == '{value}'" for path, values in CHOICES.items() for value in values])
    listed = st.sampled_from([f"{path} in ['{values[0]}', '{values[-1]}']" for path, values in CHOICES.items()])
    text = st.sampled_from(
        [f"action.target == '{t}'" for t in TARGETS]
        + ["action.target.startsWith('python@')", "action.target.startsWith('python@1')", "action.target != 'x'",
           "actor.subject in ['ana', 'bo']", "(action.reversible ? action.target : 'dialogue') == 'dialogue'",
           "has(run.parent) && run.parent.startsWith('local/a')", "!has(run.parent)"]
    )  # fmt: skip
    flag = st.sampled_from(
        ["action.reversible", "!action.idempotent", "action.reversible == action.idempotent", "true"]
    )
    return whole | computed | pointed | chosen | listed | text | flag


def _compound(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return (
        st.builds("({} && {})".format, inner, inner)
        | st.builds("({} || {})".format, inner, inner)
        | st.builds("!({})".format, inner)
        | st.builds("({} ? {} : {})".format, inner, inner, inner)
    )


conditions = st.recursive(_atom(), _compound, max_leaves=6)
values = st.builds(
    "({} ? {} : {})".format,
    conditions,
    st.sampled_from(["1.0", "0.3", "budget.headroom", "0.5 * actor.standing", "1.0 - signals.secrets"]),
    st.sampled_from(["0.0", "0.25", "0.000001", "0.5 + 0.5 * budget.headroom"]),
)


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    """Return a random constitution: three features, up to two articles and two approval rules."""
    weights = draw(st.sampled_from([(0.2, 0.3, 0.5), (0.333333, 0.333333, 0.333334), (0.1, 0.1, 0.8)]))
    features = [{"name": f"f{i}", "weight": w, "value": draw(values)} for i, w in enumerate(weights)]
    return minimal(
        score={"threshold": 0.6, "ask_from": 0.3, "features": features},
        articles=[{"id": f"a{i}", "forbid": draw(conditions), "because": "x"} for i in range(draw(st.integers(0, 2)))],
        approvals=[
            {"id": f"r{i}", "ask_when": draw(conditions), "because": "x"} for i in range(draw(st.integers(0, 2)))
        ],
    )
