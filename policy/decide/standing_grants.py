"""Standing grants that match an action which would be asked. The ledger counts and locks them.

A grant stands for one person with one capability. It meets only demands for one person with that capability, never a
quorum, and never an action that its granter asked for.
"""

from collections.abc import Iterable

import cel

from capsules.actions.action import Action, action_variables
from capsules.actions.ledger_messages import OpenGrant
from capsules.actions.verdict import Verdict
from capsules.errors import Invalid
from capsules.expressions import EVALUATION_ERRORS, compile_expression


def matching_grants(offers: Iterable[OpenGrant], action: Action, verdict: Verdict, actor: str) -> tuple[str, ...]:
    """Return the ids of the grants that stand for what the verdict asks, in their order."""
    if verdict.decision != "ask":
        return ()
    seen = cel.Context({"action": action_variables(action)})  # once: converting costs more than evaluating
    return tuple(
        offer.id
        for offer in offers
        if offer.granted_by != actor
        and all(demand.quorum == 1 and demand.capability == offer.capability for demand in verdict.demands)
        and _matches(offer.scope, seen)
    )


def _matches(scope: str, seen: cel.Context) -> bool:
    """Say whether an action is in a scope. One that cannot be evaluated on it does not hold it: a person is asked."""
    try:
        return compile_expression(scope).execute(seen) is True
    except (Invalid, *EVALUATION_ERRORS):
        return False
