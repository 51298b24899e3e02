"""Benchmark of policy decisions in process, against Cedar and OPA's Rego on the same 3, 12 and 100 rules."""

import time
from collections.abc import Sequence
from functools import partial
from itertools import islice
from statistics import median

from actions import PolicyInput, stream
from bench import Bench, Turns
from engines import Denies, cedar, rego, somagent
from results import Goal, Result, p99, result
from rules import articles

from capsules.actions.action import Action, Facts
from capsules.budgets.amounts import Amounts
from capsules.digest import digest

SIZES = (3, 12, 100)
SEED = 20261122
BLOCK = 200
"""Decisions in a turn. Each turn has new actions."""

GOALS = {
    "decision-12-cedar-p50": Goal("ratio", "<=", 0.2),
    "decision-12-rego-p50": Goal("ours", "<", 50),
    "policy-decision": Goal("ours", "<", 50),
}
ACTION = Action(
    kind="tool.invoke",
    target="python@1.0.0/run",
    effect="write",
    cost=Amounts(tokens=800, tool_calls=1),
    arguments=digest({}),
)
FACTS = Facts(autonomy="supervised", headroom=0.7, denials=1, actor="operator", tenant="local")


async def measure(turns: Turns) -> list[Result]:
    parts = turns.parts(len(SIZES) + 1)
    found = []
    for size, part in zip(SIZES, parts, strict=False):
        found += await measure_stream(part, size)
    found += await measure_repeats(parts[-1])
    return found


async def measure_stream(turns: Turns, size: int) -> list[Result]:
    """Decide a stream of different actions. Every engine must decide each of them alike."""
    rules = articles(size)
    engines: dict[str, Denies] = {"ours": somagent(rules), "cedar": cedar(rules), "rego": rego(rules)}
    times: dict[str, list[float]] = {name: [] for name in engines}
    drawn = stream(SEED + size)

    async def turn() -> None:
        block = list(islice(drawn, BLOCK))
        denied = {}
        order = list(engines)
        # Each engine is the first, second and last in turn.
        first = len(times["ours"]) // BLOCK % len(order)
        for name in order[first:] + order[:first]:
            taken, denied[name] = _time_decisions(engines[name], block)
            times[name] += taken
        assert denied["ours"] == denied["cedar"] == denied["rego"], "the engines do not decide alike"

    await turns.take(turn, at_least=2_000 // BLOCK)
    return [
        result(name, f"µs {quantile}", times["ours"], times[anchor], scale=1e6, of=of, goal=GOALS.get(name))
        for anchor in ANCHORS
        for quantile, of in (("p50", median), ("p99", p99))
        for name in (f"decision-{size}-{anchor}-{quantile}",)
    ]


async def measure_repeats(turns: Turns) -> list[Result]:
    """Decide the same action repeatedly."""
    rules = articles(12)
    engines = (somagent(rules), cedar(rules))
    assert not any(denies(ACTION, FACTS) for denies in engines)

    async def take(denies: Denies) -> list[float]:
        return _time_decisions(denies, [(ACTION, FACTS)] * BLOCK)[0]

    times = await turns.compare(*(partial(take, denies) for denies in engines), at_least=10)
    return [result("policy-decision", "µs p50", *times, scale=1e6, goal=GOALS["policy-decision"])]


def _time_decisions(denies: Denies, block: Sequence[PolicyInput]) -> tuple[list[float], list[bool]]:
    """Return the seconds of each decision, and whether it denies."""
    taken, denied = [], []
    for action, facts in block:
        began = time.perf_counter()
        decision = denies(action, facts)
        taken.append(time.perf_counter() - began)
        denied.append(decision)
    return taken, denied


ANCHORS = {
    "cedar": "`cedarpy.is_authorized` with policies and entities parsed before",
    "rego": "`regopy` (OPA's Rego in process) with the query planned before",
}
QUANTILES = {"p50": "Half of the decisions are faster.", "p99": "One in a hundred is slower."}
BENCH = Bench(
    name="decision",
    needs=(),
    measure=measure,
    explained={
        f"decision-{size}-{anchor}-{quantile}": f"`Policy.evaluate` with {size} articles and 12 features against "
        f"{words}, on the same {size} rules: a seeded stream in which no action comes twice. All begin with the same "
        f"`Action` and `Facts` and decide alike, which is checked; the others compute no score. Ours "
        f"remembers what its clauses gave for actions that no "
        f"clause tells apart; nothing is remembered when a stream begins. {QUANTILES[quantile]}"
        for size in SIZES
        for anchor, words in ANCHORS.items()
        for quantile in QUANTILES
    }
    | {
        "policy-decision": "The same action again and again, 12 articles and 12 features, against "
        "`cedarpy.is_authorized` on the same 12 articles: ours remembers what its clauses gave."
    },
)
