"""An action found by Z3, judged by the engine: the step from what the model says to what the code does."""

from capsules.proof import Witness
from policy.engine import Policy
from policy.language.logic import Space
from policy.witnesses import Found, action_of, facts_of, values_of


def witness(policy: Policy, space: Space, found: Found) -> Witness:
    """Return the action of a model with the engine's verdict on it."""
    values = values_of(space, found.model)
    action, facts = action_of(values), facts_of(values)
    return Witness(action=action, facts=facts, verdict=policy.judge(action, facts))
