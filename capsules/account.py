"""Accounts of the budget tree, and the terms of those that people manage: a tenant's and its projects'."""

import datetime as dt
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from capsules.amounts import Amounts, Count
from capsules.duration import Duration


class Rate(BaseModel):
    """At most so much in any sixty seconds. What is left out has no bound."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tokens: Count | None = Field(None, gt=0, description="Tokens a minute, by upper bound until they are counted.")
    calls: Count | None = Field(None, gt=0, description="Model and tool calls a minute.")

    @model_validator(mode="after")
    def _something(self) -> Self:
        if self.tokens is None and self.calls is None:
            raise ValueError("a rate bounds `tokens`, `calls` or both; leave it out for no bound")
        return self


class Terms(BaseModel):
    """What an account may spend: in each period, or in all where there is no period."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    allowance: Amounts
    period: Literal["month"] | None = Field(None, description="A calendar month in UTC. Unset: once and for all.")
    wall_clock: Duration | None = Field(
        None, description="How long runs may work in all, in seconds or as `10h`. Unset: no bound. Waiting is no work."
    )
    rate: Rate | None = None


class WallClock(BaseModel):
    """How long runs worked, and may yet, in seconds."""

    model_config = ConfigDict(frozen=True)

    limit: int | None = Field(None, description="None: no bound.")
    spent: int = 0
    reserved: int = Field(0, description="What runs under way may work at most.")


class Account(BaseModel):
    """One account of the budget tree: what it may spend, has spent and holds for work under way.

    Invariant, kept by the database: spent + reserved <= limit, in every dimension.
    """

    model_config = ConfigDict(frozen=True)

    id: str
    parent: str | None = None
    project: str | None = Field(None, description="The project that it lies in, at any depth.")
    limit: Amounts
    spent: Amounts = Amounts()
    reserved: Amounts = Amounts()
    credit: Amounts = Field(Amounts(), description="Part of the limit that is spent once, after the allowance.")
    wall_clock: WallClock = WallClock()
    terms: Terms | None = Field(None, description="Of the tenant and its projects.")
    period_start: dt.date | None = Field(None, description="First day of the month that it is in.")
    closed: bool = False

    @property
    def left(self) -> Amounts:
        return self.limit.minus(self.spent + self.reserved)
