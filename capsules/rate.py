"""Rates: at most so many tokens and calls of an account in any sixty seconds, and what is said when one is reached."""

from typing import get_args

from pydantic import BaseModel, ConfigDict, Field

from capsules.action import Kind

CALLS: frozenset[Kind] = frozenset({"slm.chat", "slm.embed", "tool.invoke"})
"""The kinds of action that count as a call."""
assert frozenset(get_args(Kind)) >= CALLS


def rate_in_words(tokens: int | None, calls: int | None) -> str:
    """Return `2,000 tokens and 1 call a minute`."""
    bounds = ((tokens, "token"), (calls, "call"))
    return " and ".join(f"{value:,} {name}{'' if value == 1 else 's'}" for value, name in bounds if value) + " a minute"


class Bound(BaseModel):
    """The rate of one account above a run: of its tenant or its project."""

    model_config = ConfigDict(frozen=True)

    account: str
    tokens: int | None = None
    calls: int | None = None

    def told(self) -> str:
        """Return the bound in words."""
        return f"The {rate_in_words(self.tokens, self.calls)} of {self.account}"


class Slow(BaseModel):
    """An action comes too early: when it may come again."""

    model_config = ConfigDict(frozen=True)

    account: str
    seconds: float | None = Field(description="Until it may; none: never, as it is.")
    sentence: str
