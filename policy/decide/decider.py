"""Decider: verdicts of one constitution, for exact costs and for ranges, with an explanation of each ask and deny."""

import asyncio
from collections.abc import Mapping
from functools import cached_property

from capsules.actions.action import Action, Facts
from capsules.actions.verdict import Verdict
from policy.decide.engine import Policy
from policy.prove.explanations import explain
from policy.prove.intervals import Intervals, Range
from policy.prove.solver import Solver


class Decider:
    """Evaluates actions for the gate. Z3 runs in a thread, so that other activities continue."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self._intervals = Intervals(policy)

    @cached_property
    def solver(self) -> Solver:
        """The encoded constitution in Z3, made at first use."""
        return self._intervals.solver

    async def evaluate_with_explanation(self, action: Action, facts: Facts, ranges: Mapping[str, Range]) -> Verdict:
        """Return the verdict for the whole ranges. An ask or a deny has an explanation as its sentence."""
        verdict = await self.evaluate(action, facts, ranges)
        if verdict.decision == "allow":
            return verdict
        explanation = await asyncio.to_thread(explain, self.solver, action, facts)
        if explanation.verdict.decision != verdict.decision:
            return verdict  # stricter for some value of an interval than for this one: it has its own sentence
        return verdict.model_copy(update={"sentence": explanation.sentence})

    async def evaluate(self, action: Action, facts: Facts, ranges: Mapping[str, Range]) -> Verdict:
        """Return the verdict for the whole of the ranges, without an explanation."""
        if not self._intervals.open_ranges(ranges):
            return self.policy.evaluate(action, facts)
        if self._intervals.decided_by_ends(ranges):
            return self._intervals.evaluate(action, facts, ranges)
        return await asyncio.to_thread(self._intervals.evaluate, action, facts, ranges)
