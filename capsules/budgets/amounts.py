"""Amounts: cost in tokens, micro-dollars and tool calls, always whole numbers; and budget thresholds."""

from typing import Annotated, Literal

from pydantic import Field

from capsules.base_model import StrictModel

Count = Annotated[int, Field(strict=True, ge=0, le=2**53 - 1)]
Dimension = Literal["tokens", "micro_usd", "tool_calls"]
DIMENSIONS: tuple[Dimension, ...] = ("tokens", "micro_usd", "tool_calls")


class Amounts(StrictModel):
    """A cost in every dimension; also a limit, when every dimension is limited."""

    tokens: Count = 0
    micro_usd: Count = 0
    tool_calls: Count = 0

    def __add__(self, other: "Amounts") -> "Amounts":
        return Amounts(
            tokens=self.tokens + other.tokens,
            micro_usd=self.micro_usd + other.micro_usd,
            tool_calls=self.tool_calls + other.tool_calls,
        )

    def minus(self, other: "Amounts") -> "Amounts":
        """Return what is left, never below zero in any dimension."""
        return Amounts(
            tokens=max(0, self.tokens - other.tokens),
            micro_usd=max(0, self.micro_usd - other.micro_usd),
            tool_calls=max(0, self.tool_calls - other.tool_calls),
        )

    def format(self, between: str = ", ") -> str:
        """Return `1,200 tokens, $0.0004, 2 tool calls`; what is none is left out."""
        calls = self.tool_calls
        parts = (
            f"{self.tokens:,} tokens" if self.tokens else "",
            f"${self.micro_usd / 1_000_000:.6f}".rstrip("0").rstrip(".") if self.micro_usd else "",
            f"{calls:,} tool call{'' if calls == 1 else 's'}" if calls else "",
        )
        return between.join(filter(None, parts)) or "nothing"


BUDGET_THRESHOLDS = (50, 80, 100)
"""In per cent of a limit."""


def reached_threshold(spent: Amounts, left: Amounts | None) -> int:
    """Return the highest budget threshold that any dimension has reached; 0 below the lowest.

    Reserved amounts count as neither spent nor left.
    """
    share = 0
    for dimension in DIMENSIONS:
        used = getattr(spent, dimension)
        limit = used + (getattr(left, dimension) if left else 0)
        if left is not None and limit and used:
            share = max(share, 100 * used // limit)
    return max((threshold for threshold in BUDGET_THRESHOLDS if share >= threshold), default=0)
