"""Three engines that decide the same rules: ours, Cedar and OPA's Rego in process. Each says whether it denies.

Rules are parsed and queries prepared before. Each decision begins with the same `Action` and `Facts`, so that turning
them into what an engine reads is part of its time, ours included.
"""

from collections.abc import Callable
from typing import Any

import cedarpy
from regopy import Interpreter
from rules import in_cedar, in_rego, policy

from capsules.actions.action import Action, Facts, action_variables

Denies = Callable[[Action, Facts], bool]


def ours(rules: tuple[str, ...]) -> Denies:
    judged = policy(rules)
    return lambda action, facts: judged.evaluate(action, facts).decision == "deny"


def variables(action: Action, facts: Facts) -> dict[str, Any]:
    """Return what no rule goes beyond. Cedar has no numbers with a point, and no rule reads one."""
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
    policies = cedarpy.PolicySet.from_str(in_cedar(rules))
    entities = cedarpy.Entities.from_json_str("[]")
    return lambda action, facts: not cedarpy.is_authorized(cedar_request(action, facts), policies, entities).allowed


def rego(rules: tuple[str, ...]) -> Denies:
    interpreter = Interpreter()
    interpreter.add_module("policy", in_rego(rules))
    bundle = interpreter.build("denied = data.policy.deny")

    def denies(action: Action, facts: Facts) -> bool:
        interpreter.set_input(variables(action, facts))
        output = interpreter.query_bundle(bundle)
        return bool(output.results[0].bindings["denied"])

    return denies
