"""Standing grants: which of them match an action that would be asked, and the proof of a grant's scope.

A grant stands for one person with one capability. It meets only demands for one person with that capability, never a
quorum, and never an action that its granter asked for. The ledger counts and locks the grants that match.
"""

import time
from collections.abc import Iterable
from typing import Literal

import cel
import z3

from capsules.actions.action import Action, action_variables
from capsules.actions.ledger_messages import OpenGrant
from capsules.actions.verdict import Verdict
from capsules.constitutions.proof import Proof
from capsules.errors import Invalid
from capsules.expressions import EVALUATION_ERRORS, compile_expression
from policy.decide.engine import Policy
from policy.language.schema import Schema
from policy.language.type_checker import require_provable, type_condition
from policy.language.z3_terms import Space, Term, condition_term
from policy.prove.encoder import encode, space_of
from policy.prove.witnesses import ordinary_term, search, witness


def matching_grants(offers: Iterable[OpenGrant], action: Action, verdict: Verdict, actor: str) -> tuple[str, ...]:
    """Return the ids of the grants that meet every demand of the verdict, in their order."""
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
    """Return whether an action is in a scope; not if the scope cannot be evaluated, so that a person is asked."""
    try:
        return compile_expression(scope).execute(seen) is True
    except (Invalid, *EVALUATION_ERRORS):
        return False


PROPERTY = "scope-within-constitution"


def prove_scope(policy: Policy, scope: str, *, capability: str, seconds: float = 5.0) -> Proof:
    """Prove that no action in scope is denied in an ordinary run, and where asked, then for `capability` alone.

    In a run that is not ordinary (many denials, no budget left) the constitution still denies; a grant does not change
    that.

    scope: a condition over `action` alone: a grant is given in advance, when no run's facts are known.
    Raises Invalid for an expression that does not parse, or that reads more than the action.
    """
    began = time.monotonic()
    schema = policy.clauses.schema
    only_actions = {path: a for path, a in schema.attributes.items() if path.startswith("action.")}
    tree = require_provable(type_condition(scope, Schema(only_actions)))
    space = space_of([policy.clauses], context=z3.Context(), extra=[tree])
    encoded, inside = encode(policy.clauses, space), condition_term(tree, space)
    others = [
        encoded.approvals[t.clause.id]
        for t in policy.clauses.approvals
        if t.clause.capability != capability or t.clause.quorum > 1
    ]
    claims: list[tuple[str, list[Term], bool]] = [
        ("No action is in scope.", [inside], False),
        ("An action in scope is denied even in an ordinary run.", [inside, encoded.deny, *_ordinary_run(space)], True),
        (
            "An action in scope needs another approval than this grant can give.",
            [inside, encoded.ask, z3.Or(*others, z3.BoolVal(False, space.context))],
            True,
        ),
        ("No action in scope is ever asked, so the grant would serve nothing.", [inside, encoded.ask], False),
    ]
    for what, claim, refutes in claims:
        found = search(claim, (space,), milliseconds=int(seconds * 1000))
        spent = round(time.monotonic() - began, 3)
        if not found.decided:
            return Proof(
                guarantee=PROPERTY, outcome="not proved", sentence=f"Not decided within {seconds:g} s.", seconds=spent
            )
        if (found.model is not None) == refutes:
            witnesses = (witness(policy, space, found),) if found.model is not None else ()
            outcome: Literal["refuted"] = "refuted"
            return Proof(guarantee=PROPERTY, outcome=outcome, sentence=what, witnesses=witnesses, seconds=spent)
    sentence = f"Every action in scope is within the constitution, and asks for {capability!r} alone."
    return Proof(guarantee=PROPERTY, outcome="proved", sentence=sentence, seconds=round(time.monotonic() - began, 3))


def _ordinary_run(space: Space) -> list[Term]:
    """Return terms that fix every attribute but those of the action to its ordinary value."""
    facts = ((space.schema.attributes.get(path), v) for path, v in space.variables.items() if path[:7] != "action.")
    wishes = (ordinary_term(space, attribute, variable) for attribute, variable in facts if attribute is not None)
    return [wish for wish in wishes if wish is not None]
