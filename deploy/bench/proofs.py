"""Benchmark of proofs and differences of constitutions, and of decisions about costs known as an interval."""

import time
from itertools import islice

from actions import stream
from bench import Bench, Turns
from decision import SEED
from results import Goal, Result, p99, result
from rules import articles, policy

from capsules.digest import digest
from policy.decide.decider import Decider, Range
from policy.decide.engine import Policy
from policy.language.constitution import parse
from policy.prove.comparison import compare
from policy.prove.proofs import prove
from somagent.capsule_files.library import Library

CHANGED = "action.kind == 'capsule.start' && run.denials > 4"
"""Replaces one of a hundred articles. Another one is left out."""

BLOCK = 50


async def measure(turns: Turns) -> list[Result]:
    proving, comparing, deciding = turns.parts(3)
    return [await proofs(proving), await difference(comparing), await intervals(deciding)]


async def proofs(turns: Turns) -> Result:
    document = Library.load().constitution

    async def turn() -> list[float]:
        began = time.perf_counter()
        report = prove(parse(document), digest(document))
        seconds = time.perf_counter() - began
        assert report.holds, report.proofs
        return [seconds]

    return result("prove-default", "s", *await turns.compare(turn), goal=Goal("ours", "<", 2))


async def difference(turns: Turns) -> Result:
    rules = articles(100)
    old = policy(rules, threshold=0.6, ask_from=0.5)
    new = policy((*rules[:8], CHANGED, *rules[9:70], *rules[71:]), version="1.1.0", threshold=0.6, ask_from=0.45)

    async def turn() -> list[float]:
        began = time.perf_counter()
        found = compare(old, new)
        seconds = time.perf_counter() - began
        assert not found.same
        assert all(change.outcome != "not decided" for change in found.changes), found.changes
        return [seconds]

    return result("difference-100", "s", *await turns.compare(turn), goal=Goal("ours", "<", 10))


async def intervals(turns: Turns) -> Result:
    """Decide for every cost from a quarter of the bound up to it, against a decision for the bound alone."""
    document = Library.load().constitution
    exact = Policy(parse(document), digest(document))
    asked = Decider(exact)
    drawn = stream(SEED)
    times: dict[str, list[float]] = {"intervals": [], "exact": []}

    async def turn() -> None:
        for action, facts in islice(drawn, BLOCK):
            headroom = round(facts.headroom * 1_000_000)
            ranges: dict[str, Range] = {
                "action.tokens": (action.cost.tokens // 4, action.cost.tokens),
                "budget.headroom": (headroom, min(1_000_000, headroom + 200_000)),
            }
            began = time.perf_counter()
            asked.evaluate_ranges(action, facts, ranges)
            between = time.perf_counter()
            exact.evaluate(action, facts)
            times["intervals"].append(between - began)
            times["exact"].append(time.perf_counter() - between)

    await turn()  # cold: Z3 answers once for each constitution
    times["intervals"].clear()
    times["exact"].clear()
    await turns.take(turn, at_least=10)
    goal = Goal("ours", "<", 5)
    return result("decision-interval", "ms p99", times["intervals"], times["exact"], scale=1e3, of=p99, goal=goal)


BENCH = Bench(
    name="proofs",
    needs=(),
    measure=measure,
    explained={
        "prove-default": "Every proof of the shipped constitution: typing, compiling, its guarantees, and what any "
        "constitution must have. There is no anchor.",
        "difference-100": "All six ways in which two versions of 100 articles and 12 features can decide otherwise, "
        "each with a witness or shown to be impossible. One article changed, one left out, `ask_from` lowered.",
        "decision-interval": "A stream of different actions of which cost and headroom are known as intervals only, "
        "under the shipped constitution, warm; the anchor is `Policy.evaluate` on the exact action, also ours.",
    },
)
