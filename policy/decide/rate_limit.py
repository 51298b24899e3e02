"""Rate limit of one effect: counted before the effect begins, corrected when it has ended.

An action without a limit is not counted. An action with a limit does not run when nothing can count it.
"""

import logging
from collections.abc import Sequence

from capsules.actions.action import Action
from capsules.actions.ledger_messages import AttemptKey, FinishEffect
from capsules.actions.verdict import Verdict
from capsules.budgets.account import CALLS, RateBound, RateRefusal, RateWindows
from capsules.errors import Unavailable

log = logging.getLogger(__name__)


class RateLimit:
    """The rate limit of one effect."""

    def __init__(self, windows: RateWindows | None, key: AttemptKey, bounds: Sequence[RateBound]) -> None:
        self._windows = windows
        self._key = key
        self._bounds = tuple(bounds)
        self._taken = False

    async def begin(self, action: Action, verdict: Verdict) -> RateRefusal | None:
        """Count the action, or return why it may not begin now or ever. Raises Unavailable."""
        if action.kind not in CALLS or verdict.decision == "deny" or not self._bounds:
            return None
        if self._windows is None:
            raise Unavailable("The account has a rate limit, but this process cannot count.", part="valkey")
        for bound in self._bounds:
            if bound.tokens is not None and action.cost.tokens > bound.tokens:
                return RateRefusal(
                    account=bound.account,
                    seconds=None,
                    sentence=f"It may take {action.cost.tokens:,} tokens, and {bound.account} may take "
                    f"{bound.tokens:,} a minute: it can never begin. Cap its reply, or raise the rate limit.",
                )
        slow = await self._windows.take(
            self._key.tenant, self._bounds, effect=self._key.effect, tokens=action.cost.tokens
        )
        self._taken = slow is None
        return slow

    async def undo(self) -> None:
        """Undo the count: the effect does not begin."""
        if self._taken:
            await self._correct(None)

    async def end(self, outcome: FinishEffect) -> None:
        """Correct the count to the real usage."""
        if self._taken:
            await self._correct(outcome.usage.tokens)

    async def _correct(self, tokens: int | None) -> None:
        assert self._windows is not None
        try:
            await self._windows.correct(self._key.tenant, self._bounds, effect=self._key.effect, tokens=tokens)
        except Unavailable as error:
            # The upper bound stays counted for a minute: too much, never too little.
            log.warning("rate_limit.not_corrected problem=%s", error)
