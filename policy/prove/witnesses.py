"""Witnesses: actions built from Z3 models, as ordinary as the claim allows, with the verdict of the engine."""

from dataclasses import dataclass
from typing import Any

import z3

from capsules.actions.action import Action, Facts, ForecastRange
from capsules.actions.verdict import PPM
from capsules.budgets.amounts import DIMENSIONS, Amounts
from capsules.constitutions.proof import Witness
from capsules.digest import GENESIS
from policy.decide.engine import Policy
from policy.language.schema import ACTION_SCHEMA, STANDING, Attribute, Choice, Fixed, Flag, NotMeasured, Text
from policy.language.z3_terms import Space, Term


@dataclass(frozen=True)
class SearchResult:
    """Result of a search for an action. `model`: None if there is none. `decided`: False after a time-out."""

    decided: bool
    model: Any = None


def search(claim: list[Term], spaces: tuple[Space, ...], *, milliseconds: int) -> SearchResult:
    """Search for values of the spaces' attributes that meet every claim."""
    solver = z3.Solver(ctx=spaces[0].context)
    solver.set("timeout", max(1, milliseconds))
    for space in spaces:
        solver.add(*space.constraints)
    solver.add(*claim)
    answer = solver.check()
    if answer == z3.unsat:
        return SearchResult(decided=True)
    if answer != z3.sat:
        return SearchResult(decided=False)
    return SearchResult(decided=True, model=_ordinary_model(solver, spaces))


def _ordinary_model(solver: z3.Solver, spaces: tuple[Space, ...]) -> Any:  # noqa: ANN401 - Z3's model
    """Return a model in which as many attributes as possible have their ordinary value."""
    model = solver.model()
    solver.set("timeout", 100)
    for space in spaces:
        for path, variable in space.variables.items():
            attribute = space.schema.attributes.get(path)
            wish = None if attribute is None else ordinary_term(space, attribute, variable)
            if wish is None:
                continue
            if solver.check(wish) == z3.sat:
                model = solver.model()
                solver.add(wish)
        for variable in space.present.values():
            if solver.check(z3.Not(variable)) == z3.sat:
                model = solver.model()
                solver.add(z3.Not(variable))
    return model


def ordinary_term(space: Space, attribute: Attribute, variable: Term) -> Term | None:
    """Return the term that an attribute has its ordinary value; None where no proof has that value."""
    match attribute.type:
        case Flag():
            return variable == z3.BoolVal(attribute.ordinary, space.context)
        case Choice() | Text():
            texts = space.words[attribute.path].texts
            return variable == texts.index(attribute.ordinary) if attribute.ordinary in texts else None
        case _:
            return variable == attribute.ordinary


def values_of(space: Space, model: Any) -> dict[str, Any]:  # noqa: ANN401 - Z3's model
    """Return every attribute's value: a bool, a whole number (parts per million where it has a point) or a text."""
    found: dict[str, Any] = {}
    for path, attribute in space.schema.attributes.items():
        if attribute.optional and path in space.present and not _is_true(model, space.present[path]):
            continue
        variable = space.variables.get(path)
        if variable is None and attribute.optional and path in space.present:
            found[path] = "ordinary"
        elif variable is None:
            # What no clause reads is not measured.
            if not attribute.optional and path != STANDING and not path.startswith("signals."):
                found[path] = attribute.ordinary
        elif isinstance(attribute.type, Flag):
            found[path] = _is_true(model, variable)
        else:
            number = model.eval(variable, model_completion=True).as_long()
            words = space.words.get(path)
            found[path] = words.texts[number] if words is not None else number
    return found


def values_from(action: Action, facts: Facts) -> dict[str, Any]:
    """Return the attributes of an action and its facts: the inverse of `action_of` and `facts_of`."""
    values: dict[str, Any] = {}
    for path, attribute in ACTION_SCHEMA.attributes.items():
        try:
            value = attribute.value(action, facts)
        except NotMeasured:
            continue
        if value is not None:
            values[path] = round(value * PPM) if isinstance(attribute.type, Fixed) else value
    return values | {f"sequences.{name}": state for name, state in facts.sequences.items()}


def action_of(values: dict[str, Any]) -> Action:
    """Return the action that has these attributes."""
    return Action(
        kind=values["action.kind"],
        target=values["action.target"],
        effect=values["action.effect"],
        reversible=values["action.reversible"],
        egress=values["action.egress"],
        data=values["action.data"],
        idempotent=values["action.idempotent"],
        cost=Amounts(**{cost: values[f"action.{cost}"] for cost in DIMENSIONS}),
        arguments=GENESIS,
    )


def facts_of(values: dict[str, Any]) -> Facts:
    """Return the facts that have these attributes."""
    group = {path.partition(".")[2]: v / PPM for path, v in values.items() if path.startswith("signals.")}
    states = {path.partition(".")[2]: v for path, v in values.items() if path.startswith("sequences.")}
    return Facts(
        autonomy=values["run.autonomy"],
        headroom=values["budget.headroom"] / PPM,
        forecast=ForecastRange(tokens=values["forecast.tokens"], micro_usd=values["forecast.micro_usd"])
        if values.get("forecast.tokens") or values.get("forecast.micro_usd")
        else None,
        denials=values["run.denials"],
        parent=values.get("run.parent"),
        actor=values["actor.subject"],
        tenant=values["actor.tenant"],
        standing=values[STANDING] / PPM if STANDING in values else None,
        signals=group,
        sequences=states,
    )


def _is_true(model: Any, variable: Term) -> bool:  # noqa: ANN401 - Z3's model
    return bool(z3.is_true(model.eval(variable, model_completion=True)))


def witness(policy: Policy, space: Space, found: SearchResult) -> Witness:
    """Return the action of a model with the engine's verdict on it."""
    values = values_of(space, found.model)
    action, facts = action_of(values), facts_of(values)
    return Witness(action=action, facts=facts, verdict=policy.evaluate(action, facts))
