"""Streams of random actions with a seed: a mix as in real work, of which a few per cent are denied.

No two actions of a stream are the same, so that a cache of an engine helps no more than in real work.
"""

import random
from collections.abc import Iterator

from capsules.actions.action import Action, ActionKind, Facts
from capsules.budgets.amounts import Amounts
from capsules.digest import digest

KINDS: tuple[ActionKind, ...] = (
    "slm.chat", "tool.invoke", "memory.recall", "memory.remember", "artifact.publish", "slm.embed", "capsule.start",
)  # fmt: skip
KIND_SHARES = (35, 35, 10, 6, 6, 4, 4)
ROLES = ("dialogue", "planner", "critic")
ARGUMENTS = digest({})

PolicyInput = tuple[Action, Facts]


def stream(seed: int) -> Iterator[PolicyInput]:
    """Yield actions without end."""
    chance = random.Random(seed)  # noqa: S311 - a reproducible benchmark
    while True:
        yield _action(chance), _facts(chance)


def _action(chance: random.Random) -> Action:
    (kind,) = chance.choices(KINDS, KIND_SHARES)
    tokens = int(chance.lognormvariate(7, 1.2))
    if kind != "tool.invoke":
        target = chance.choice(ROLES) if kind == "slm.chat" else f"space-{chance.randrange(40)}"
        return Action(kind=kind, target=target, cost=Amounts(tokens=tokens), arguments=ARGUMENTS)
    (effect,) = chance.choices(("read", "write", "destructive"), (70, 25, 5))
    return Action(
        kind=kind,
        target=f"tool-{chance.randrange(60)}@{chance.choice('12')}.0.0/run",
        effect=effect,
        reversible=effect != "destructive" and chance.random() < 0.9,
        idempotent=chance.random() < 0.7,
        egress=chance.choices(("none", "allowlist", "open"), (60, 30, 10))[0],
        data=chance.choices(("public", "internal", "confidential", "secret"), (25, 55, 15, 5))[0],
        cost=Amounts(tokens=tokens, micro_usd=int(chance.lognormvariate(6, 2)), tool_calls=1),
        arguments=ARGUMENTS,
    )


def _facts(chance: random.Random) -> Facts:
    return Facts(
        autonomy=chance.choices(("manual", "supervised", "autonomous"), (10, 70, 20))[0],
        headroom=chance.random(),
        denials=chance.choices((0, 1, 2, 5, 21), (80, 10, 6, 3, 1))[0],
        actor=f"person-{chance.randrange(200)}",
        tenant=f"tenant-{chance.randrange(50)}",
    )
