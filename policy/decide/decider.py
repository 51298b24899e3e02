"""Decider: verdicts of one constitution, also where an attribute is known only as a range, such as a cost.

A verdict holds for the whole range: it is the strictest that any value in it would get. Where a proof shows that
decisions only grow stricter towards one end, that end decides. Elsewhere Z3 searches the whole range within a time
limit; what it cannot decide in time is denied.
"""

import asyncio
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import z3

from capsules.actions.action import Action, Facts, ForecastRange
from capsules.actions.verdict import PPM, Demand, Verdict
from capsules.bounded_cache import BoundedCache
from policy.decide.engine import Policy
from policy.decide.equivalence_classes import CACHE_SIZE
from policy.language.typed_tree import reads
from policy.prove.encoder import encode, space_of
from policy.prove.explanations import explain
from policy.prove.solver import FixedAttributes, Solver, UnknownValue
from policy.prove.witnesses import search, values_of

MILLISECONDS = 50
Range = tuple[int, int]
"""Lowest and highest, both possible; parts per million where the attribute has a point."""

_LENIENT_TO_STRICT = (("allow", "ask"), ("allow", "deny"), ("ask", "deny"))


class Decider:
    """Evaluates actions under one constitution. Z3 runs in a thread, so that other activities continue."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self._cache = BoundedCache[Any, Verdict](CACHE_SIZE)

    @cached_property
    def solver(self) -> Solver:
        """The encoded constitution in Z3, made at first use."""
        return Solver(self.policy)

    async def evaluate_with_explanation(self, action: Action, facts: Facts, ranges: Mapping[str, Range]) -> Verdict:
        """Return the verdict for the whole ranges. An ask or a deny has an explanation as its sentence."""
        verdict = await self.evaluate(action, facts, ranges)
        if verdict.decision == "allow":
            return verdict
        explanation = await asyncio.to_thread(explain, self.solver, action, facts)
        if explanation.verdict.decision != verdict.decision:
            return verdict  # stricter for some value of a range than for this one: it has its own sentence
        return verdict.model_copy(update={"sentence": explanation.sentence})

    async def evaluate(self, action: Action, facts: Facts, ranges: Mapping[str, Range]) -> Verdict:
        """Return the verdict for the whole ranges, without an explanation."""
        open_ranges = self._open_ranges(ranges)
        if not open_ranges:
            return self.policy.evaluate(action, facts)
        if "strict_ends" in self.__dict__ and self.ends_decide(open_ranges):
            return self.evaluate_ranges(action, facts, ranges)
        return await asyncio.to_thread(self.evaluate_ranges, action, facts, ranges)

    @cached_property
    def strict_ends(self) -> Mapping[str, int]:
        """Path to the end of its range that decides: 0 the low one, 1 the high one. No entry where neither does."""
        found = {}
        for path in self.policy.reads:
            if self.policy.clauses.schema.attributes[path].forecast:
                end = next((end for end in (1, 0) if self._grows_stricter(path, end)), None)
                if end is not None:
                    found[path] = end
        return found

    def ends_decide(self, open_ranges: Mapping[str, Range]) -> bool:
        """Return whether the strict ends decide: no search is needed then."""
        return self.strict_ends.keys() >= open_ranges.keys() and not self._approvals_read(open_ranges)

    def _open_ranges(self, ranges: Mapping[str, Range]) -> dict[str, Range]:
        """Return the ranges that hold more than one value and that some clause reads."""
        return {path: r for path, r in ranges.items() if r[0] < r[1] and path in self.policy.reads}

    def evaluate_ranges(
        self, action: Action, facts: Facts, ranges: Mapping[str, Range], *, milliseconds: int = MILLISECONDS
    ) -> Verdict:
        """Return the strictest verdict that any value of the ranges gets.

        action, facts: as at any point of the ranges. Takes microseconds where the strict ends are known to decide.
        """
        open_ranges = self._open_ranges(ranges)
        if self.ends_decide(open_ranges):
            ends = {path: r[self.strict_ends[path]] for path, r in open_ranges.items()}
            return self.policy.evaluate(*with_values(action, facts, ends))
        key = (action, facts.model_dump_json(), tuple(sorted(open_ranges.items())))
        known = self._cache.get(key)
        if known is None:
            known = self._cache[key] = self._solve(action, facts, open_ranges, milliseconds)
        return known

    def _solve(self, action: Action, facts: Facts, ranges: Mapping[str, Range], milliseconds: int) -> Verdict:
        solver = self.solver
        with solver.lock:
            try:
                fixing = solver.fix(action, facts, but=ranges)
            except UnknownValue as unknown:
                verdict = self.policy.evaluate(action, facts)
                return self._deny_unproved(verdict, f"{unknown} is nothing that a proof knows")
            for path, (low, high) in ranges.items():
                variable = solver.space.variables[path]
                fixing[f"from {path}"] = variable >= low
                fixing[f"to {path}"] = variable <= high
            return self._strictest(solver, action, facts, fixing, ranges, milliseconds)

    def _strictest(  # noqa: PLR0913, PLR0917 - one query
        self,
        solver: Solver,
        action: Action,
        facts: Facts,
        fixing: FixedAttributes,
        ranges: Mapping[str, Range],
        milliseconds: int,
    ) -> Verdict:
        where = ", ".join(f"{path} from {low} to {high}" for path, (low, high) in ranges.items())
        for decision in ("deny", "ask"):
            found = solver.check(
                *fixing.values(),
                solver.encoded.term_of(decision),
                milliseconds=milliseconds,
            )
            if found is None:
                verdict = self.policy.evaluate(action, facts)
                return self._deny_unproved(verdict, f"whether it is {decision} for {where} was not decided in time")
            if found:
                values = values_of(solver.space, solver.model())
                verdict = self.policy.evaluate(*with_values(action, facts, {path: values[path] for path in ranges}))
                sentence = f"{verdict.sentence} (possible for {where})"
                demands = self._demands(solver, fixing, milliseconds) if decision == "ask" else verdict.demands
                return verdict.model_copy(update={"sentence": sentence, "demands": demands})
        return self.policy.evaluate(action, facts)

    def _demands(self, solver: Solver, fixing: FixedAttributes, milliseconds: int) -> tuple[Demand, ...]:
        """Return the demands of every rule that may ask in the ranges, or is not decided in time."""
        demanded = []
        for typed in self.policy.clauses.approvals:
            term = solver.encoded.approvals[typed.clause.id]
            if solver.check(*fixing.values(), term, milliseconds=milliseconds) is not False:
                demanded.append(Demand(capability=typed.clause.capability, quorum=typed.clause.quorum))
        return tuple(demanded) or (Demand(),)

    def _deny_unproved(self, verdict: Verdict, why: str) -> Verdict:
        return verdict.model_copy(
            update={"decision": "deny", "sentence": f"Not proved, so not allowed: {why}.", "sequences": {}}
        )

    def _approvals_read(self, ranges: Mapping[str, Range]) -> bool:
        """Return whether an approval rule reads one of the ranges: different values may ask different people."""
        return any(not reads(typed.tree).isdisjoint(ranges) for typed in self.policy.clauses.approvals)

    def _grows_stricter(self, path: str, end: int) -> bool:
        """Return whether it is proved that values nearer to an end are never decided more leniently."""
        clauses = self.policy.clauses
        low = space_of([clauses], context=z3.Context())
        high = space_of([clauses], context=low.context, mark="raised ")
        first, second = encode(clauses, low), encode(clauses, high)
        same = [low.variables[p] == high.variables[p] for p in low.variables if p != path]
        same += [low.present[p] == high.present[p] for p in low.present]
        raised = low.variables[path] < high.variables[path]
        for lenient, strict in _LENIENT_TO_STRICT:
            before, after = (strict, lenient) if end == 1 else (lenient, strict)
            claim = [*same, raised, first.term_of(before), second.term_of(after)]  # type: ignore[arg-type]
            found = search(claim, (low, high), milliseconds=2000)
            if not found.decided or found.model is not None:
                return False
        return True


def with_values(action: Action, facts: Facts, values: Mapping[str, int]) -> tuple[Action, Facts]:
    """Return the action and facts with other values of what is known as an interval."""
    costs = {path.removeprefix("action."): v for path, v in values.items() if path.startswith("action.")}
    if costs:
        action = action.model_copy(update={"cost": action.cost.model_copy(update=costs)})
    if "budget.headroom" in values:
        facts = facts.model_copy(update={"headroom": values["budget.headroom"] / PPM})
    ends = {path.removeprefix("forecast."): v for path, v in values.items() if path.startswith("forecast.")}
    if ends:
        facts = facts.model_copy(update={"forecast": (facts.forecast or ForecastRange()).model_copy(update=ends)})
    return action, facts
