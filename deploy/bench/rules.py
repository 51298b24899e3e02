"""Rules of the policy benchmarks: written in CEL, translated to Cedar and Rego."""

import re
from typing import Any

from capsules.digest import digest
from policy.decide.engine import Policy
from policy.language.constitution import parse

FIRST = (
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

SHAPES = (
    "action.target == 'tool-{n}@1.0.0/run' && action.effect == 'destructive'",
    "actor.subject == 'person-{n}' && action.egress == 'open'",
    "actor.tenant == 'tenant-{n}' && action.data == 'confidential'",
    "action.target == 'tool-{n}@2.0.0/run' && action.tokens > {n}000",
    "action.kind == 'memory.remember' && action.tokens > 2{n}00 && run.denials > 3",
)
"""Patterns of the rules after the first twelve, each about one tool, person or tenant."""

VARIABLE = re.compile(r"\b(action|run|actor)\.")


def articles(number: int) -> tuple[str, ...]:
    """Return the first `number` rules, always the same."""
    more = [SHAPES[n % len(SHAPES)].format(n=10 + n) for n in range(max(0, number - len(FIRST)))]
    return (*FIRST, *more)[:number]


def document(rules: tuple[str, ...], *, version: str = "1.0.0", **score: float) -> dict[str, Any]:
    """Return a constitution of these articles and twelve features. By default the score decides nothing."""
    return {
        "apiVersion": "somagent/v1",
        "kind": "Constitution",
        "metadata": {"name": "benchmark", "version": version},
        "score": {
            "threshold": 0.0,
            "ask_from": 0.0,
            "features": [
                {"name": f"feature_{number}", "weight": weight, "value": value}
                for number, (weight, value) in enumerate(zip(WEIGHTS, FEATURES, strict=True))
            ],
            **score,
        },
        "articles": [
            {"id": f"article-{number}", "forbid": cel, "because": "It is forbidden."}
            for number, cel in enumerate(rules)
        ],
    }


def policy(rules: tuple[str, ...], *, version: str = "1.0.0", **score: float) -> Policy:
    constitution = document(rules, version=version, **score)
    return Policy(parse(constitution), digest(constitution))


def to_cedar(rules: tuple[str, ...]) -> str:
    """Return the rules as Cedar policies over the request's context."""
    forbids = (VARIABLE.sub(r"context.\1.", rule).replace("'", '"') for rule in rules)
    return "\n".join(
        [
            "permit(principal, action, resource);",
            *(f"forbid(principal, action, resource) when {{ {forbid} }};" for forbid in forbids),
        ]
    )


def to_rego(rules: tuple[str, ...]) -> str:
    """Return the rules as a Rego module, in which `deny` is true if one of them is."""
    return "\n".join(["package policy", "default deny := false", *(f"deny if {{ {_conjunction(r)} }}" for r in rules)])


def _conjunction(rule: str) -> str:
    parts = (VARIABLE.sub(r"input.\1.", part).replace("'", '"') for part in rule.split(" && "))
    return "; ".join(f"not {part[1:]}" if part.startswith("!") else part for part in parts)
