"""Evaluation of expressions by the CEL library, cached by the equivalence classes of the attributes they read."""

from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter, itemgetter
from typing import Any

import cel

from capsules.actions.action import Action, Facts
from capsules.actions.verdict import PPM
from capsules.bounded_cache import BoundedCache
from capsules.errors import ConstitutionRefused, Invalid
from capsules.expressions import EVALUATION_ERRORS, compile_expression
from policy.decide.equivalence_classes import CACHE_SIZE, Classifier, classifiers, computed_attributes
from policy.language.constitution import in_ppm
from policy.language.schema import Attribute, Fixed, NotMeasured, Schema
from policy.language.type_checker import part_of
from policy.language.typed_tree import If, Node, reads

Values = tuple[Any, ...]
"""One entry for each attribute of a reader, in its order: the value, None where it is absent, or MissingAttribute."""

_NUMBERS = frozenset({int, float})
"""The exact types: in Python a truth value is an int too, and must not pass for one."""


class ExpressionFailed(Exception):
    """An expression could not be evaluated, or gave a value outside its range; carries the clause."""

    def __str__(self) -> str:
        return f"Clause {self.args[0]!r} {self.args[1]}."


class MissingAttribute(str):
    """Stands for a value that was not measured; the text is the path."""

    __slots__ = ()


class AttributeReader:
    """Reads the attributes that a constitution uses from an action and its facts."""

    def __init__(self, schema: Schema, paths: Iterable[str], trees: Iterable[Node]) -> None:
        self.schema = schema
        watched = [schema.attributes[path] for path in paths]
        # Plain fields are taken together, those of the action in one call and those of the facts in another.
        of_action = [a for a in watched if a.field.startswith("action.")]
        of_facts = [a for a in watched if a.field.startswith("facts.")]
        rest = [a for a in watched if not a.field]
        self._attributes = (*of_action, *of_facts, *rest)
        self._of_action, self._of_facts = _fields(of_action), _fields(of_facts)
        self._rest = tuple(attribute.value for attribute in rest)
        self._positions = {attribute.path: number for number, attribute in enumerate(self._attributes)}
        found = classifiers(trees)
        self._classifiers: tuple[tuple[int, Classifier], ...] = tuple((self._positions[p], c) for p, c in found.items())

    def values(self, action: Action, facts: Facts) -> Values:
        """Return the value of each watched attribute."""
        if not self._rest:
            return (*self._of_action(action), *self._of_facts(facts))
        rest = [_read_value(take, action, facts) for take in self._rest]
        return (*self._of_action(action), *self._of_facts(facts), *rest)

    def classes(self, values: Values) -> Values:
        """Return the class of each value."""
        found = list(values)
        for position, classify in self._classifiers:
            value = found[position]
            found[position] = value if type(value) is MissingAttribute else classify(value)
        return tuple(found)

    def ordinary(self) -> Values:
        """Return the ordinary value of each attribute, as in a witness."""
        return tuple(a.ordinary / PPM if isinstance(a.type, Fixed) else a.ordinary for a in self._attributes)

    def position(self, path: str) -> int:
        return self._positions[path]

    def selector(self, paths: Iterable[str]) -> Callable[[Values], Any]:
        """Return a function from values to the entries of these attributes, for use as a key: one value, or a tuple."""
        positions = [self._positions[path] for path in sorted(paths)]
        return itemgetter(*positions) if positions else _nothing


class Expression[R]:
    """One clause's expression. Evaluating it twice on values alike costs one look into a table.

    checked: takes the clause's name and what the evaluator gave, and returns what it means, or raises ExpressionFailed.
    """

    def __init__(
        self, name: str, text: str, tree: Node, reader: AttributeReader, *, checked: Callable[[str, object], R]
    ) -> None:
        self.name = name
        self._checked = checked
        self._program = _compile_clause(name, text)
        self._paths = tuple(sorted(reads(tree)))
        self._places = tuple((*path.partition(".")[::2],) for path in self._paths)
        self.reads = reads(tree)
        self.computes = computed_attributes(tree)
        """Attributes whose exact value is needed; of the others, the class is enough."""
        self._take = reader.selector(self._paths)
        self._classes = reader.selector(self.reads - self.computes)
        self._exact_values = reader.selector(self.computes)
        self._cache = BoundedCache[Any, R](CACHE_SIZE)

    def value(self, values: Values, classes: Values) -> R:
        """Return the value. Raises ExpressionFailed when there is none."""
        key = (self._classes(classes), self._exact_values(values)) if self.computes else self._classes(classes)
        found = self._cache.get(key)
        if found is not None:
            return found
        taken = self._take(values)
        value = self._checked(self.name, self._evaluate((taken,) if len(self._paths) == 1 else taken))
        self._cache[key] = value
        return value

    def _evaluate(self, values: Values) -> object:
        variables: dict[str, Any] = {}
        for (root, name), value in zip(self._places, values, strict=True):
            if type(value) is MissingAttribute:
                raise ExpressionFailed(self.name, f"needs {value}, which was not measured")
            group = variables.setdefault(root, {})
            if value is not None:
                group[name] = value
        try:
            return self._program.execute(cel.Context(variables))
        except EVALUATION_ERRORS as error:
            raise ExpressionFailed(self.name, f"cannot be evaluated: {error}") from error


class Conditional[R]:
    """`condition ? then : otherwise`, each evaluated on its own: where one branch computes, the other is cached."""

    def __init__(self, condition: "Evaluator[bool]", then: "Evaluator[R]", otherwise: "Evaluator[R]") -> None:
        self.name: str = then.name
        self.reads: frozenset[str] = condition.reads | then.reads | otherwise.reads
        self.computes: frozenset[str] = condition.computes | then.computes | otherwise.computes
        self._condition, self._then, self._otherwise = condition, then, otherwise

    def value(self, values: Values, classes: Values) -> R:
        """Return the value of the branch that the condition chooses."""
        chosen = self._then if self._condition.value(values, classes) else self._otherwise
        return chosen.value(values, classes)


type Evaluator[R] = Expression[R] | Conditional[R]


def evaluator[R](
    name: str, text: str, tree: Node, reader: AttributeReader, *, checked: Callable[[str, object], R]
) -> Evaluator[R]:
    """Return the evaluator of an expression: one for each branch where a condition chooses and a branch computes."""
    if isinstance(tree, If) and computed_attributes(tree):
        condition, then, otherwise = (
            part_of(text, part, reader.schema) for part in (tree.condition, tree.then, tree.otherwise)
        )
        if condition is not None and then is not None and otherwise is not None:
            return Conditional(
                Expression(name, condition, tree.condition, reader, checked=check_condition),
                Expression(name, then, tree.then, reader, checked=checked),
                Expression(name, otherwise, tree.otherwise, reader, checked=checked),
            )
    return Expression(name, text, tree, reader, checked=checked)


def check_condition(clause: str, value: object) -> bool:
    """Return the value of a condition. Raises ExpressionFailed unless it is true or false."""
    if value is True or value is False:
        return value
    raise ExpressionFailed(clause, f"gave {value!r}; it must give true or false")


def check_feature(clause: str, value: object) -> int:
    """Return the value of a feature in parts per million. Raises ExpressionFailed unless it is from 0 to 1."""
    if type(value) not in _NUMBERS or not 0 <= value <= 1:  # type: ignore[operator]
        raise ExpressionFailed(clause, f"gave {value!r}; a feature is a number from 0 to 1")
    return in_ppm(value)  # type: ignore[arg-type]


def _fields(attributes: Sequence[Attribute]) -> Callable[[object], tuple[Any, ...]]:
    names = [attribute.field.partition(".")[2] for attribute in attributes]
    if len(names) > 1:
        return attrgetter(*names)
    # Of one name, attrgetter gives the bare value.
    return lambda source: tuple(attrgetter(name)(source) for name in names)


def _read_value(take: Callable[[Action, Facts], Any], action: Action, facts: Facts) -> Any:  # noqa: ANN401 - any attribute
    try:
        return take(action, facts)
    except NotMeasured as missing:
        return MissingAttribute(missing)


def _nothing(_: Values) -> Values:
    return ()


def _compile_clause(clause: str, text: str) -> cel.Program:
    try:
        return compile_expression(text)
    except Invalid as error:
        raise ConstitutionRefused(f"Clause {clause!r}: {error.message}") from error
