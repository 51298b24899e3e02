"""Equivalence classes of attribute values: values that no expression of a constitution can tell apart.

Two numbers between the same two constants are in one class. Two texts that equal the same constants and begin with the
same prefixes are in one class. So a decision about 812 tokens serves for 4,731 tokens if no clause has a constant in
between. An expression that computes with an attribute needs its exact value.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from policy.language.schema import Choice, Flag, Text
from policy.language.typed_tree import Compare, Literal, Node, Read, StartsWith, Within, children, walk
from policy.language.vocabulary import Words, vocabulary

TRACE = 5e-7
"""Less than half of the smallest step of a number with a point, and more than its round-off."""
Classifier = Callable[[Any], Any]
CACHE_SIZE = 4096


def computed_attributes(tree: Node) -> frozenset[str]:
    """Return the paths of the attributes whose very value this expression needs."""
    return frozenset(_iter_computed(tree))


def classifiers(trees: Iterable[Node]) -> Mapping[str, Classifier]:
    """Return, for each attribute that needs one, the function from a value to its class, the same for every tree."""
    every = tuple(trees)
    found: dict[str, Classifier] = {}
    constants: dict[str, set[float]] = {}
    for node in (part for tree in every for part in walk(tree)):
        if isinstance(node, Read) and not isinstance(node.type, Flag | Choice | Text):
            constants.setdefault(node.attribute.path, set())
        for path, value in _compared_numbers(node):
            constants.setdefault(path, set()).add(value)
    for path, values in constants.items():
        found[path] = _interval_classifier(sorted(values))
    texts = {n.attribute.path for t in every for n in walk(t) if isinstance(n, Read) and isinstance(n.type, Text)}
    words = vocabulary(every)
    return found | {path: _text_classifier(words[path]) for path in texts}


def _iter_computed(node: Node) -> Iterable[str]:
    match node:
        case Compare(left=Read(), right=Literal()) | Compare(left=Literal(), right=Read()) | Within(operand=Read()):
            return
        case StartsWith(operand=Read()):
            return
        case Read() if not isinstance(node.type, Flag | Choice):
            yield node.attribute.path
        case _:
            for child in children(node):
                yield from _iter_computed(child)


def _compared_numbers(node: Node) -> Iterable[tuple[str, float]]:
    """Yield the constants that numbers are compared with."""
    match node:
        case (
            Compare(left=Read(attribute=attribute), right=Literal(value=value))
            | Compare(left=Literal(value=value), right=Read(attribute=attribute))
        ) if not isinstance(value, str | bool):
            yield attribute.path, _number(value)
        case Within(operand=Read(attribute=attribute), values=values):
            yield from ((attribute.path, _number(v.value)) for v in values if not isinstance(v.value, str | bool))
        case _:
            return


def _number(value: Any) -> float:  # noqa: ANN401 - a whole number or a fraction
    return value if isinstance(value, int) else float(value)


def _interval_classifier(constants: list[float]) -> Classifier:
    # Even: between two constants. Odd: on one, which ends a little above itself: numbers have six decimals at most.
    ends = [end for constant in constants for end in (constant, constant + TRACE)]
    return partial(bisect_right, ends)


def _text_classifier(words: Words) -> Classifier:
    known: dict[str | None, int | None] = {None: None}

    def classify(text: str | None) -> int | None:
        if text not in known:
            if len(known) > CACHE_SIZE:
                known.clear()
                known[None] = None
            known[text] = words.index(text)  # type: ignore[arg-type]
        return known[text]

    return classify
