"""The validator of JSON Schema: what it accepts, what it says, and what it refuses."""

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
        ({"$defs": {"name": {"type": "string"}}, "items": {"$ref": "#/$defs/name"}}, ["a"]),
        (TREE, nested(MAX_NESTED - 1)),
        ({"$defs": {"name": {"$anchor": "name"}}, "$ref": "#name"}, 1),
    ],
)
def test_a_value_follows_its_schema(schema, value):
    assert schema_problems(schema) == []
    assert value_problems(schema, value) == []


@pytest.mark.parametrize(
    ("schema", "value", "says"),
    [
        ({"type": "object", "required": ["name"]}, {}, "$: 'name' is a required property"),
        ({"items": {"properties": {"n": {"type": "integer"}}}}, [{"n": 1}, {"n": "x"}], "$[1].n: "),
        (TREE, nested(MAX_NESTED + 1), f"$: nested more than {MAX_NESTED} levels deep"),
    ],
)
def test_a_value_that_does_not_follow_is_told_with_its_place(schema, value, says):
    [problem] = value_problems(schema, value)
    assert says in str(problem)


@pytest.mark.parametrize(
    ("schema", "path", "says"),
    [
        ({"properties": {"a": {"type": "text"}}}, ("properties", "a", "type"), "'text' is not valid"),
        ({"properties": {"a": {"pattern": "("}}}, ("properties", "a", "pattern"), "regular expression"),
        ({"$ref": "#/$defs/missing"}, ("$ref",), "no place in this schema"),
        ({"$id": "http://127.0.0.1:1/a", "$ref": "b"}, ("$ref",), "nothing is fetched"),
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


def test_a_message_and_the_number_of_problems_are_bounded():
    found = value_problems({"items": {"type": "integer"}}, ["x" * 10_000] * 1000, most=7)
    assert len(found) == 7
    assert max(len(problem.message) for problem in found) <= 300
