"""Proof that a standing grant's scope lies within the constitution."""

import time
from typing import Literal

import z3

from capsules.constitutions.proof import Proof
from policy.decide.engine import Policy
from policy.language.schema import Schema
from policy.language.type_checker import require_provable, type_condition
from policy.language.z3_terms import Space, Term, condition_term
from policy.prove.encoder import encode, space_of
from policy.prove.witnesses import ordinary_term, search, witness

NAME = "scope-within-constitution"


def prove_scope(policy: Policy, scope: str, *, capability: str, seconds: float = 5.0) -> Proof:
    """Prove that no action in scope is denied in an ordinary run, and where asked, then for `capability` alone.

    In an extraordinary run (many denials, no budget left) the constitution still denies: a grant never overrides that.

    scope: a condition over `action` alone: a grant is given in advance, when no run's facts are known.
    Raises Invalid for an expression that does not read, or that looks at more than the action.
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
                guarantee=NAME, outcome="not proved", sentence=f"Not decided within {seconds:g} s.", seconds=spent
            )
        if (found.model is not None) == refutes:
            witnesses = (witness(policy, space, found),) if found.model is not None else ()
            outcome: Literal["refuted"] = "refuted"
            return Proof(guarantee=NAME, outcome=outcome, sentence=what, witnesses=witnesses, seconds=spent)
    sentence = f"Every action in scope is within the constitution, and asks for {capability!r} alone."
    return Proof(guarantee=NAME, outcome="proved", sentence=sentence, seconds=round(time.monotonic() - began, 3))


def _ordinary_run(space: Space) -> list[Term]:
    """Fix everything but the action to what nobody would look at twice."""
    facts = ((space.schema.attributes.get(path), v) for path, v in space.variables.items() if path[:7] != "action.")
    wishes = (ordinary_term(space, attribute, variable) for attribute, variable in facts if attribute is not None)
    return [wish for wish in wishes if wish is not None]
