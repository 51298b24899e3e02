"""Explanations of decisions: constitutions held ready in Z3, one thread for all of them."""

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

from api.proving import Desk
from capsules.action import Action, Facts
from capsules.digest import Digest
from capsules.proof import Explanation
from policy.engine import Policy
from policy.explain import explain
from policy.question import Question
from policy.reviewing import candidate

KEPT = 16
"""Constitutions held ready: a few versions of a few tenants."""


@dataclass
class Explanations:
    """Explains in a thread: ten or twenty milliseconds each, half a second at most for each question."""

    desk: Desk
    _ready: OrderedDict[Digest, Question] = field(default_factory=OrderedDict)

    async def of(self, policy: Policy, action: Action, facts: Facts) -> Explanation:
        """Explain the decision about an action."""
        return await self.desk.work(lambda: explain(self._question(policy), action, facts))

    async def of_document(self, document: dict[str, Any], action: Action, facts: Facts) -> Explanation:
        """Explain what a document says of an action. Raises ConstitutionRefused when it does not read."""
        return await self.desk.work(lambda: explain(Question(candidate(document).policy), action, facts))

    def _question(self, policy: Policy) -> Question:
        """Return the policy held ready. Only the desk's one thread comes here."""
        known = self._ready.pop(policy.digest, None) or Question(policy)
        self._ready[policy.digest] = known
        while len(self._ready) > KEPT:
            self._ready.popitem(last=False)
        return known
