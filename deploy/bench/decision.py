"""A policy decision in process: 12 features and 12 articles, beside cedarpy on the same 12 articles."""

import re
import time
from collections.abc import Callable
from typing import Any

import cedarpy
from bench import Bench, Turns, median
from results import Goal, Result, result

from capsules.action import Action, Facts, action_variables
from capsules.amounts import Amounts
from capsules.digest import digest
from policy.constitution import parse
from policy.engine import Policy

ARTICLES = (
    "action.data == 'secret' && action.egress != 'none'",
    "action.data == 'confidential' && action.egress == 'open'",
    "run.autonomy == 'autonomous' && action.effect == 'destructive'",
    "run.denials >= 20 && action.kind == 'tool.invoke'",
    "action.tokens > 1000000",
    "action.micro_usd > 50000000",
    "action.tool_calls > 10",
    "action.effect == 'write' && !action.reversible && !action.idempotent",
    "action.kind == 'capsule.start' && run.denials > 5",
    "action.target == 'python@0.1.0/run'",
    "actor.subject == 'suspended'",
    "run.autonomy == 'manual' && action.egress == 'open'",
)
"""In CEL. Cedar reads the same variables in its context, and quotes texts otherwise."""

FEATURES = (
    "action.reversible ? 1.0 : (action.idempotent ? 0.4 : 0.0)",
    "action.egress == 'none' ? 1.0 : (action.egress == 'allowlist' ? 0.6 : 0.0)",
    "action.data == 'public' || action.data == 'internal' ? 1.0 : 0.3",
    "budget.headroom >= 0.5 ? 1.0 : 2.0 * budget.headroom",
    "run.denials == 0 ? 1.0 : (run.denials < 3 ? 0.5 : 0.0)",
    "action.effect == 'read' ? 1.0 : (action.effect == 'write' ? 0.7 : 0.0)",
    "action.idempotent ? 1.0 : 0.5",
    "action.tokens < 10000 ? 1.0 : 0.5",
    "action.micro_usd == 0 ? 1.0 : 0.5",
    "action.tool_calls <= 1 ? 1.0 : 0.2",
    "run.autonomy == 'manual' ? 1.0 : (run.autonomy == 'supervised' ? 0.8 : 0.6)",
    "action.kind == 'tool.invoke' ? 0.7 : 1.0",
)
WEIGHTS = (0.09,) * 8 + (0.07,) * 4

ACTION = Action(
    kind="tool.invoke",
    target="python@1.0.0/run",
    effect="write",
    cost=Amounts(tokens=800, tool_calls=1),
    arguments=digest({}),
)
FACTS = Facts(autonomy="supervised", headroom=0.7, denials=1, actor="operator", tenant="local")
VARIABLE = re.compile(r"\b(action|run|actor)\.")
BLOCK = 200
"""Decisions in a turn."""


def policy() -> Policy:
    document = {
        "apiVersion": "somagent/v1",
        "kind": "Constitution",
        "metadata": {"name": "benchmark", "version": "1.0.0"},
        "score": {
            "threshold": 0.55,
            "ask_from": 0.4,
            "features": [
                {"name": f"feature_{number}", "weight": weight, "value": value}
                for number, (weight, value) in enumerate(zip(WEIGHTS, FEATURES, strict=True))
            ],
        },
        "articles": [
            {"id": f"article-{number}", "forbid": cel, "because": "It is forbidden."}
            for number, cel in enumerate(ARTICLES)
        ],
    }
    return Policy(parse(document), digest(document))


def in_cedar(article: str) -> str:
    return VARIABLE.sub(r"context.\1.", article).replace("'", '"')


def cedar() -> Callable[[], Any]:
    """Return Cedar's decision on the same action and facts, with policies and entities parsed before."""
    rules = ["permit(principal, action, resource);"]
    rules += [f"forbid(principal, action, resource) when {{ {in_cedar(article)} }};" for article in ARTICLES]
    policies = cedarpy.PolicySet.from_str("\n".join(rules))
    entities = cedarpy.Entities.from_json_str("[]")

    def decide() -> Any:  # noqa: ANN401 - cedarpy's own
        variables = FACTS.variables()
        request = {
            "principal": {"type": "Actor", "id": FACTS.actor},
            "action": {"type": "Action", "id": ACTION.kind},
            "resource": {"type": "Target", "id": ACTION.target},
            # Cedar has no numbers with a point: the headroom, which no article reads, stays behind.
            "context": {"action": action_variables(ACTION), "run": variables["run"], "actor": variables["actor"]},
        }
        return cedarpy.is_authorized(request, policies, entities)

    return decide


async def measure(turns: Turns) -> list[Result]:
    judge, decide = policy(), cedar()
    assert judge.judge(ACTION, FACTS).decision == "allow"
    assert decide().allowed
    ours: list[float] = []
    theirs: list[float] = []

    async def our_turn() -> None:
        ours.extend(_timed(lambda: judge.judge(ACTION, FACTS)))

    async def their_turn() -> None:
        theirs.extend(_timed(decide))

    await turns.take(our_turn, their_turn, at_least=10)
    goal = Goal("ours", "<", 50)
    return [result("policy-decision", "µs p50", ours=median(ours) * 1e6, anchor=median(theirs) * 1e6, goal=goal)]


def _timed(decide: Callable[[], object]) -> list[float]:
    found = []
    for _ in range(BLOCK):
        began = time.perf_counter()
        decide()
        found.append(time.perf_counter() - began)
    return found


BENCH = Bench(
    name="decision",
    needs=(),
    measure=measure,
    explained={
        "policy-decision": "`Policy.judge` with 12 features and 12 articles, every one evaluated (the action is "
        "allowed), against `cedarpy.is_authorized` on the same 12 articles with policies and entities parsed before. "
        "Both begin with the same `Action` and `Facts`; Cedar computes no score."
    },
)
