"""Action schema: the attributes that a constitution can read, with types, ranges and order.

Numbers with a point are fixed point: whole parts per million. Enumerations and numbers are ordered, the more dangerous
later, so that a guarantee can say `raising: action.egress`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any, get_args

from capsules.actions.action import Action, ActionKind, Autonomy, DataClass, Effect, Egress, Facts
from capsules.actions.verdict import PPM

MAX_INTEGER = 2**53 - 1
"""Whole numbers stay exact in JSON, NumPy and CEL alike."""


class NotMeasured(Exception):
    """An attribute has no value for this action; carries its path."""


@dataclass(frozen=True)
class Flag:
    """true or false."""

    def __str__(self) -> str:
        return "true or false"


@dataclass(frozen=True)
class Whole:
    """A whole number, CEL `int`."""

    low: int = 0
    high: int = MAX_INTEGER

    def __str__(self) -> str:
        return "a whole number"


@dataclass(frozen=True)
class Fixed:
    """A number with a point, CEL `double`, in whole parts per million."""

    low: int = 0
    high: int = PPM

    def __str__(self) -> str:
        return "a number with a point"


@dataclass(frozen=True)
class Choice:
    """One of few texts, from harmless to dangerous."""

    values: tuple[str, ...]

    def __str__(self) -> str:
        return f"one of {', '.join(map(repr, self.values))}"


@dataclass(frozen=True)
class Text:
    """Any text."""

    def __str__(self) -> str:
        return "a text"


Type = Flag | Whole | Fixed | Choice | Text


@dataclass(frozen=True)
class Attribute:
    """One attribute of an action or of what the platform knows about it."""

    path: str
    type: Type
    ordinary: Any
    """Value in a witness unless the claim needs another one."""
    value: Callable[[Action, Facts], Any]
    field: str = ""
    """Its field of the action (`action.cost.tokens`) or the facts (`facts.denials`), if it is a plain field."""
    optional: bool = False
    changeable: bool = False
    """Whether the requester can change it: another tool, less data, a larger budget."""
    forecast: bool = False
    """Known only as a range before the effect."""


@dataclass(frozen=True)
class Schema:
    """Every attribute by path, with the words of guarantees where they may be used."""

    attributes: Mapping[str, Attribute]
    roots: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "roots", frozenset(path.partition(".")[0] for path in self.attributes))


def _plain(path: str, kind: Type, ordinary: Any, field: str, **rest: bool) -> Attribute:  # noqa: ANN401 - any attribute
    take = attrgetter(field.partition(".")[2])
    of_action = field.startswith("action.")
    return Attribute(path, kind, ordinary, lambda a, f: take(a if of_action else f), field, **rest)


def _signal(name: str) -> Attribute:
    def measured(_: Action, facts: Facts) -> float:
        try:
            return facts.signals[name]
        except KeyError:
            raise NotMeasured(f"signals.{name}") from None

    return Attribute(f"signals.{name}", Fixed(), PPM if name == "trust" else 0, measured, changeable=True)


def _forecast_attribute(dimension: str) -> Attribute:
    def upper_end(_: Action, facts: Facts) -> Any:  # noqa: ANN401 - a whole number
        return getattr(facts.forecast, dimension) if facts.forecast else 0

    return Attribute(f"forecast.{dimension}", Whole(), 0, upper_end, changeable=True, forecast=True)


def _standing(_: Action, facts: Facts) -> float:
    if facts.standing is None:
        raise NotMeasured(STANDING)
    return facts.standing


STANDING = "actor.standing"
FORECAST_PATHS = frozenset({"forecast.tokens", "forecast.micro_usd"})
SIGNALS = ("secrets", "pii", "injection", "trust")

_ATTRIBUTES = (
    _plain("action.kind", Choice(get_args(ActionKind)), "tool.invoke", "action.kind"),
    _plain("action.target", Text(), "python@1.0.0/run", "action.target"),
    _plain("action.effect", Choice(get_args(Effect)), "read", "action.effect", changeable=True),
    _plain("action.reversible", Flag(), True, "action.reversible", changeable=True),
    _plain("action.idempotent", Flag(), True, "action.idempotent", changeable=True),
    _plain("action.egress", Choice(get_args(Egress)), "none", "action.egress", changeable=True),
    _plain("action.data", Choice(get_args(DataClass)), "internal", "action.data", changeable=True),
    _plain("action.tokens", Whole(), 0, "action.cost.tokens", changeable=True, forecast=True),
    _plain("action.micro_usd", Whole(), 0, "action.cost.micro_usd", changeable=True, forecast=True),
    _plain("action.tool_calls", Whole(), 0, "action.cost.tool_calls", changeable=True),
    _plain("run.autonomy", Choice(get_args(Autonomy)), "supervised", "facts.autonomy", changeable=True),
    _plain("run.denials", Whole(), 0, "facts.denials"),
    _plain("run.parent", Text(), None, "facts.parent", optional=True),
    _plain("budget.headroom", Fixed(), PPM, "facts.headroom", changeable=True, forecast=True),
    *map(_forecast_attribute, ("tokens", "micro_usd")),
    _plain("actor.subject", Text(), "operator", "facts.actor"),
    _plain("actor.tenant", Text(), "local", "facts.tenant"),
    Attribute("actor.standing", Fixed(), PPM, _standing),
    *map(_signal, SIGNALS),
)

ACTION_SCHEMA = Schema({attribute.path: attribute for attribute in _ATTRIBUTES})


def sequence_schema(states: Mapping[str, tuple[str, ...]]) -> Schema:
    """Return the action schema with one attribute `sequences.<id>` for each automaton; the first state is its start."""
    extra = {f"sequences.{name}": _sequence(name, values) for name, values in states.items()}
    return Schema({**ACTION_SCHEMA.attributes, **extra})


def _sequence(name: str, states: tuple[str, ...]) -> Attribute:
    start = states[0]
    return Attribute(f"sequences.{name}", Choice(states), start, lambda _, facts: facts.sequences.get(name, start))


GUARANTEE_WORDS = {
    "allowed": Attribute("allowed", Flag(), False, lambda *_: False),
    "asked": Attribute("asked", Flag(), False, lambda *_: False),
    "denied": Attribute("denied", Flag(), False, lambda *_: False),
    "score": Attribute("score", Fixed(), 0, lambda *_: 0.0),
}
"""Words of guarantees beside the attributes: the decision and the score."""


def guarantee_schema(schema: Schema) -> Schema:
    return Schema({**schema.attributes, **GUARANTEE_WORDS})


def format_value(value: object) -> str:
    """Return a value's text."""
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return repr(value)
        case float():
            return f"{value:g}"
        case _:
            return str(value)
