"""The validator of JSON Schema: what it accepts, what it says, and that its work is bounded."""

import time
from typing import Any

import pytest

from capsules.errors import Invalid
from capsules.json_schema import MAX_NESTED, schema_problems, value_problems

TREE = {"type": "object", "properties": {"below": {"$ref": "#"}}, "additionalProperties": False}


def nested(levels: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(levels):
        value = {"below": value}
    return value


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"multipleOf": 0.01}, 19.99),
        ({"patternProperties": {r"^\p{L}+$": {"type": "integer"}}}, {"größe": 3}),
        ({"format": "date"}, "2026-02-28"),
        ({"$defs": {"name": {"type": "string"}}, "items": {"$ref": "#/$defs/name"}}, ["a"]),
        (TREE, nested(MAX_NESTED - 1)),
        ({"$ref": "#"}, "a reference to itself"),
    ],
)
def test_a_value_follows_its_schema(schema, value):
    assert schema_problems(schema) == []
    assert value_problems(schema, value) == []


@pytest.mark.parametrize(
    ("schema", "value", "says"),
    [
        ({"type": "object", "required": ["name"]}, {}, '$: "name" is a required property'),
        ({"items": {"properties": {"n": {"type": "integer"}}}}, [{"n": 1}, {"n": "x"}], "$[1].n: "),
        ({"patternProperties": {r"^\p{L}+$": {"type": "integer"}}}, {"größe": "3"}, "$.größe: "),
        ({"format": "date"}, "2026-02-30", 'is not a "date"'),
        ({"type": "number"}, float("nan"), "$: "),
        (TREE, nested(MAX_NESTED + 1), f"$: nested more than {MAX_NESTED} levels deep"),
        ({"type": "integer"}, "\ud800", "surrogates not allowed"),
    ],
)
def test_a_value_that_does_not_follow_is_told_with_its_place(schema, value, says):
    [problem] = value_problems(schema, value)
    assert says in str(problem)


@pytest.mark.parametrize(
    ("schema", "path", "says"),
    [
        ({"properties": {"a": {"type": "text"}}}, ("properties", "a", "type"), '"text" is not'),
        ({"properties": {"a": {"pattern": "("}}}, ("properties", "a", "pattern"), "linear time"),
        ({"properties": {"a": {"pattern": "(?=a)b"}}}, ("properties", "a", "pattern"), "no look-around"),
        ({"pattern": r"(a)\1"}, ("pattern",), "no back-reference"),
        ({"$ref": "#/$defs/missing"}, (), "Pointer '/$defs/missing' does not exist"),
        ({"$id": "http://127.0.0.1:1/a", "$ref": "b"}, (), "nothing is fetched"),
        ({"minimum": float("inf")}, ("minimum",), "is not of type"),
        ({"enum": [float("inf")]}, (), "Out of range float"),
        ({"const": {1, 2}}, (), "set"),
        ({"not": nested(MAX_NESTED)}, (), "nested"),
    ],
)
def test_a_schema_that_cannot_be_used_is_told_with_its_place(schema, path, says):
    [problem] = schema_problems(schema)
    assert problem.path == path
    assert says in problem.message


def test_a_value_is_never_passed_by_a_schema_that_cannot_be_used():
    with pytest.raises(Invalid, match="cannot be used"):
        value_problems({"$ref": "#/$defs/missing"}, {})


def test_a_pattern_takes_linear_time():
    """The backtracking of Python's `re` takes 2^n steps for this one."""
    began = time.process_time()
    assert value_problems({"pattern": "^(a+)+$"}, "a" * 50_000 + "!")
    assert time.process_time() - began < 1


def test_a_message_and_the_number_of_problems_are_bounded():
    found = value_problems({"items": {"type": "integer"}}, ["x" * 10_000] * 1000, most=7)
    assert len(found) == 7
    assert max(len(problem.message) for problem in found) <= 300
