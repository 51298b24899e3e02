"""Accounts of the budget tree, the terms of a tenant's and its projects' accounts, and rate limits."""

import datetime as dt
from collections.abc import Sequence
from typing import Literal, Protocol, Self, get_args

from pydantic import Field, model_validator

from capsules.actions.action import ActionKind
from capsules.base_model import FrozenModel, StrictModel
from capsules.budgets.amounts import Amounts, Count
from capsules.duration import Duration


class Rate(StrictModel):
    """Rate limit: tokens and calls in any sixty seconds. An unset value has no limit."""

    tokens: Count | None = Field(None, gt=0, description="Tokens a minute, by upper bound until they are counted.")
    calls: Count | None = Field(None, gt=0, description="Model and tool calls a minute.")

    @model_validator(mode="after")
    def _has_a_limit(self) -> Self:
        if self.tokens is None and self.calls is None:
            raise ValueError("a rate limit bounds `tokens`, `calls` or both; leave it out for no limit")
        return self


class AccountTerms(StrictModel):
    """Terms of an account: its allowance, in each period or once without a period."""

    allowance: Amounts
    period: Literal["month"] | None = Field(None, description="A calendar month in UTC. Unset: once and for all.")
    wall_clock: Duration | None = Field(
        None, description="How long runs may work in all, in seconds or as `10h`. Unset: no bound. Waiting is no work."
    )
    rate: Rate | None = None


class WallClock(FrozenModel):
    """How long runs worked, and may yet, in seconds."""

    limit: int | None = Field(None, description="None: no bound.")
    spent: int = 0
    reserved: int = Field(0, description="What runs under way may work at most.")


class Account(FrozenModel):
    """One account of the budget tree: what it may spend, has spent and holds for work under way.

    Invariant, kept by the database: spent + reserved <= limit, in every dimension.
    """

    id: str
    parent: str | None = None
    project: str | None = Field(None, description="The project that it lies in, at any depth.")
    limit: Amounts
    spent: Amounts = Amounts()
    reserved: Amounts = Amounts()
    credit: Amounts = Field(Amounts(), description="Part of the limit that is spent once, after the allowance.")
    wall_clock: WallClock = WallClock()
    terms: AccountTerms | None = Field(None, description="Of the tenant and its projects.")
    period_start: dt.date | None = Field(None, description="First day of the month that it is in.")
    closed: bool = False

    @property
    def left(self) -> Amounts:
        return self.limit.minus(self.spent + self.reserved)


CALLS: frozenset[ActionKind] = frozenset({"slm.chat", "slm.embed", "tool.invoke"})
"""The kinds of action that count as a call."""
assert frozenset(get_args(ActionKind)) >= CALLS


def format_rate(tokens: int | None, calls: int | None) -> str:
    """Return `2,000 tokens and 1 call a minute`."""
    bounds = ((tokens, "token"), (calls, "call"))
    return " and ".join(f"{value:,} {name}{'' if value == 1 else 's'}" for value, name in bounds if value) + " a minute"


class RateBound(FrozenModel):
    """The rate limit of one account above a run: of its tenant or its project."""

    account: str
    tokens: int | None = None
    calls: int | None = None

    def describe(self) -> str:
        """Return the limit as text: `The 2,000 tokens a minute of project:x`."""
        return f"The {format_rate(self.tokens, self.calls)} of {self.account}"


class RateRefusal(FrozenModel):
    """An action exceeds a rate limit now: when it may be tried again."""

    account: str
    seconds: float | None = Field(description="Seconds to wait; none: it can never begin as it is.")
    sentence: str


class RateWindows(Protocol):
    """Port that counts the tokens and calls of an account in the last sixty seconds."""

    async def take(self, tenant: str, bounds: Sequence[RateBound], *, effect: str, tokens: int) -> RateRefusal | None:
        """Count an effect under every bound, or return how long to wait. Counting the same effect twice counts once."""
        ...

    async def correct(self, tenant: str, bounds: Sequence[RateBound], *, effect: str, tokens: int | None) -> None:
        """Correct the count to the real usage of an effect; None: it did not take place."""
        ...
