"""Facts of a decision: values that are known when an action is evaluated, and ranges where only bounds are known."""

from collections.abc import Mapping

from capsules.actions.action import Action, Facts, ForecastRange, truncate_share
from capsules.actions.ledger_messages import LedgerFacts
from capsules.actions.verdict import PPM
from capsules.budgets.account import Account
from capsules.budgets.amounts import DIMENSIONS, Amounts
from capsules.identity.authority import Authority
from policy.decide.decider import Range
from policy.language.schema import STANDING


def decision_facts(
    authority: Authority,
    facts: LedgerFacts,
    action: Action,
    signals: Mapping[str, float],
    forecast: ForecastRange | None,
) -> Facts:
    """Return the facts of an action, from the database's facts, the detector scores and the forecast."""
    account = facts.account
    return Facts(
        autonomy=authority.autonomy,
        headroom=_headroom(account.limit, account.left, action.cost) if account else 1.0,
        denials=facts.denials,
        actor=authority.actor,
        tenant=authority.tenant,
        parent=facts.parent,
        standing=signals.get(STANDING),
        sequences=facts.sequences,
        forecast=forecast,
        signals={path.removeprefix("signals."): value for path, value in signals.items() if path != STANDING},
    )


def cost_ranges(account: Account | None, action: Action, forecast: ForecastRange | None = None) -> dict[str, Range]:
    """Return the attributes that are known as a range before the effect: cost, budget headroom and forecast."""
    ranges: dict[str, Range] = {}
    if forecast is not None:
        ranges["forecast.tokens"] = (forecast.least_tokens, forecast.tokens)
        ranges["forecast.micro_usd"] = (forecast.least_micro_usd, forecast.micro_usd)
    if action.least is None:
        return ranges
    ranges |= {f"action.{d}": (getattr(action.least, d), getattr(action.cost, d)) for d in ("tokens", "micro_usd")}
    if account:
        ends = (_headroom(account.limit, account.left, cost) for cost in (action.cost, action.least))
        low, high = (int(truncate_share(end) * PPM + 0.5) for end in ends)
        ranges["budget.headroom"] = (low, max(low, high))
    return ranges


def _headroom(limit: Amounts, left: Amounts, cost: Amounts) -> float:
    """Return the least share of the limit that would be left, over the dimensions the action draws on."""
    shares = [
        max(0, getattr(left, d) - getattr(cost, d)) / getattr(limit, d)
        for d in DIMENSIONS
        if getattr(cost, d) and getattr(limit, d)
    ]
    return min(shares, default=1.0)
