"""Explanations of asks and denials: the clauses that force the decision, and the smallest change that would help.

An unsat core gives the clauses and the attributes they rest on. Z3's optimisation over the attributes that a caller can
change gives the advice. The engine evaluates the advised action before it is reported.
"""

from typing import Any

import z3

from capsules.actions.action import Action, Facts
from capsules.actions.verdict import PPM
from capsules.constitutions.proof import Advice, Citation, Explanation, Witness
from policy.language.schema import Fixed, Whole, format_value
from policy.language.z3_terms import Term
from policy.prove.solver import FixedAttributes, Solver, UnknownValue
from policy.prove.witnesses import action_of, facts_of, values_from, values_of

MILLISECONDS = 500
"""How long one explanation may look for a clause, and again for a change."""

COSTLY = {"action.data": 3, "run.autonomy": 2, "action.effect": 2}
"""Weights of attributes that are harder for a caller to change; others have 1."""


def explain(solver: Solver, action: Action, facts: Facts, *, milliseconds: int = MILLISECONDS) -> Explanation:
    """Return the explanation of a decision. Parts not found within the time limit (ms) are left out."""
    verdict = solver.policy.evaluate(action, facts)
    approvers = tuple(dict.fromkeys(d.capability for d in verdict.demands)) if verdict.decision == "ask" else ()
    if verdict.decision == "allow":
        return Explanation(verdict=verdict, sentence=verdict.sentence)
    with solver.lock:
        try:
            fixing = solver.fix(action, facts)
        except UnknownValue:
            return Explanation(verdict=verdict, approvers=approvers, sentence=verdict.sentence)
        cited = _find_citations(solver, fixing, deny=verdict.decision == "deny", milliseconds=milliseconds)
        advised = _find_advised(solver, fixing, action, facts, milliseconds=milliseconds)
    advice = _advice(action, facts, advised, solver)
    sentence = " ".join(
        filter(None, (verdict.sentence, _format_basis(cited), _format_advice(advice, advised, approvers)))
    )
    return Explanation(
        verdict=verdict, cited=cited, advice=advice, advised=advised, approvers=approvers, sentence=sentence
    )


def _find_citations(solver: Solver, fixing: FixedAttributes, *, deny: bool, milliseconds: int) -> tuple[Citation, ...]:
    conditions = solver.encoded.not_denied() if deny else solver.encoded.not_asked()
    found = []
    for clause, condition in conditions.items():
        forced = solver.unsat_core(condition, fixing, milliseconds=milliseconds)
        if forced is not None:
            rests_on = {path: _format_term(fixing[path], path, solver) for path in forced}
            found.append(Citation(clause=clause, attributes=rests_on))
    return tuple(found)


def _find_advised(
    solver: Solver, fixing: FixedAttributes, action: Action, facts: Facts, *, milliseconds: int
) -> Witness | None:
    """Return the nearest action that is allowed, else the nearest that is not denied."""
    encoded = solver.encoded
    for goal in (encoded.allow, z3.Not(encoded.deny)):
        model = _nearest(solver, fixing, goal, milliseconds=milliseconds)
        if model is None:
            continue
        # A text stands for its class, so an unchanged attribute keeps its own text.
        values = values_of(solver.space, model)
        changed = {path: values[path] for path in _changed_attributes(solver, fixing, model)}
        advised = values_from(action, facts) | changed
        near, known = action_of(advised).model_copy(update={"arguments": action.arguments}), facts_of(advised)
        verdict = solver.policy.evaluate(near, known)
        if verdict.decision != "deny":
            return Witness(action=near, facts=known, verdict=verdict)
    return None


def _nearest(solver: Solver, fixing: FixedAttributes, goal: Term, *, milliseconds: int) -> Any:  # noqa: ANN401 - Z3's model
    optimize = z3.Optimize(ctx=solver.space.context)
    optimize.set("timeout", milliseconds)
    optimize.add(*solver.space.constraints, goal)
    distances = []
    for path, term in fixing.items():
        attribute = solver.space.schema.attributes.get(path)
        if attribute is None or not attribute.changeable:
            optimize.add(term)
            continue
        optimize.add_soft(term, COSTLY.get(path, 1))
        if isinstance(attribute.type, Whole | Fixed):
            variable, now = solver.space.variables[path], term.arg(1)
            distances.append(z3.If(variable >= now, variable - now, now - variable))
    if distances:
        optimize.minimize(z3.Sum(distances))
    return optimize.model() if optimize.check() == z3.sat else None


def _changed_attributes(solver: Solver, fixing: FixedAttributes, model: Any) -> list[str]:  # noqa: ANN401 - Z3's model
    return [
        path
        for path, term in fixing.items()
        if path in solver.space.variables and not z3.is_true(model.eval(term, model_completion=True))
    ]


def _advice(action: Action, facts: Facts, advised: Witness | None, solver: Solver) -> tuple[Advice, ...]:
    if advised is None:
        return ()
    found = []
    for path in sorted(solver.policy.reads):
        attribute = solver.space.schema.attributes[path]
        if not attribute.changeable:
            continue
        now, to = attribute.value(action, facts), attribute.value(advised.action, advised.facts)
        if now != to:
            found.append(Advice(attribute=path, now=format_value(now), to=format_value(to)))
    return tuple(found)


def _format_basis(cited: tuple[Citation, ...]) -> str:
    first = next((c for c in cited if c.attributes), None)
    if first is None:
        return ""
    return f"The decision depends on {', '.join(f'{path} = {value}' for path, value in first.attributes.items())}."


def _format_advice(advice: tuple[Advice, ...], advised: Witness | None, approvers: tuple[str, ...]) -> str:
    parts = []
    if advised is not None and advice:
        then = {"allow": "would be allowed", "ask": "would be asked, not denied"}[advised.verdict.decision]
        parts.append(f"It {then} with {', '.join(f'{a.attribute} = {a.to}' for a in advice)}.")
    if approvers:
        parts.append(f"Who has {' and '.join(approvers)} can approve it.")
    return " ".join(parts)


def _format_term(term: Term, path: str, solver: Solver) -> str:
    attribute = solver.space.schema.attributes.get(path)
    if attribute is None:
        return str(term)
    value = term.arg(1)
    if path in solver.space.words:
        return repr(solver.space.words[path].texts[value.as_long()])
    if isinstance(attribute.type, Fixed):
        return format_value(value.as_long() / PPM)
    return "true" if z3.is_true(value) else "false" if z3.is_false(value) else str(value)
