"""Three policy engines in process that decide the same rules: SomaGent, Cedar and OPA's Rego.

Rules are parsed and queries prepared before. A decision starts from the same `Action` and `Facts`, so the conversion to
an engine's input is part of its time.
"""

from collections.abc import Callable
from typing import Any

import cedarpy
from regopy import Interpreter
from rules import policy, to_cedar, to_rego

from capsules.actions.action import Action, Facts, action_variables

Denies = Callable[[Action, Facts], bool]
"""Returns whether an engine denies an action."""


def somagent(rules: tuple[str, ...]) -> Denies:
    evaluate = policy(rules).evaluate
    return lambda action, facts: evaluate(action, facts).decision == "deny"


def variables(action: Action, facts: Facts) -> dict[str, Any]:
    """Return the attributes that the rules read. None is a decimal, which Cedar's requests do not have."""
    return {
        "action": action_variables(action),
        "run": {"autonomy": facts.autonomy, "denials": facts.denials},
        "actor": {"subject": facts.actor, "tenant": facts.tenant},
    }


def cedar_request(action: Action, facts: Facts) -> dict[str, Any]:
    return {
        "principal": {"type": "Actor", "id": facts.actor},
        "action": {"type": "Action", "id": action.kind},
        "resource": {"type": "Target", "id": action.target},
        "context": variables(action, facts),
    }


def cedar(rules: tuple[str, ...]) -> Denies:
    policies = cedarpy.PolicySet.from_str(to_cedar(rules))
    entities = cedarpy.Entities.from_json_str("[]")
    return lambda action, facts: not cedarpy.is_authorized(cedar_request(action, facts), policies, entities).allowed


def rego(rules: tuple[str, ...]) -> Denies:
    interpreter = Interpreter()
    interpreter.add_module("policy", to_rego(rules))
    bundle = interpreter.build("denied = data.policy.deny")

    def denies(action: Action, facts: Facts) -> bool:
        interpreter.set_input(variables(action, facts))
        output = interpreter.query_bundle(bundle)
        return bool(output.results[0].bindings["denied"])

    return denies
