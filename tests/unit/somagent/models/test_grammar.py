"""Schemas as a grammar takes them: bounded, and refused where nothing could satisfy them."""

import pytest

from capsules.errors import EffectFailed
from somagent.models.grammar import (
    DEFAULT_ITEMS,
    DEFAULT_TEXT,
    FREE,
    MAX_NODES,
    SCALAR,
    grammar_pattern,
    grammar_schema,
)

CONTRADICTIONS = [
    {"type": "string", "minLength": 5, "maxLength": 3},
    {"type": "array", "items": {"type": "integer"}, "minItems": 5, "maxItems": 3},
    {"type": "integer", "minimum": 5, "maximum": 3},
    {"type": "integer", "exclusiveMinimum": 3, "exclusiveMaximum": 4},
    {"type": "number", "minimum": 1.5, "maximum": 1.25},
    {"type": "object", "properties": {"x": False}, "required": ["x"]},
    {"type": "object", "properties": {"x": {"enum": []}}},
    {"type": "frob"},
    {"$defs": {"deep": {"type": "string", "minLength": 2, "maxLength": 1}}, "$ref": "#/$defs/deep"},
    {"allOf": [{"type": "string", "minLength": 9}, {"maxLength": 2}]},
]


@pytest.mark.parametrize("schema", CONTRADICTIONS, ids=str)
def test_a_schema_that_nothing_satisfies_never_reaches_the_server(schema):
    with pytest.raises(EffectFailed) as refused:
        grammar_schema(schema)
    assert refused.value.fields["at"].startswith("#")


def test_a_text_without_a_bound_gets_one():
    assert grammar_schema({"type": "string"}) == {"type": "string", "minLength": 0, "maxLength": DEFAULT_TEXT}


def test_a_list_without_a_bound_gets_one():
    assert grammar_schema({"type": "array", "items": {"type": "null"}})["maxItems"] == DEFAULT_ITEMS


def test_bounds_that_are_given_stay():
    schema = {
        "type": "array",
        "items": {"type": "string", "minLength": 2, "maxLength": 7},
        "minItems": 1,
        "maxItems": 3,
    }
    assert grammar_schema(schema) == schema


def test_a_free_value_is_one_level_deep():
    result = grammar_schema({"type": "object", "properties": {"anything": True}, "required": ["more"]})
    assert result["properties"] == {"anything": FREE, "more": FREE}
    assert grammar_schema({"type": "object"}) == {"type": "object", "additionalProperties": SCALAR}


def test_exclusive_and_fractional_bounds_become_whole_ones():
    result = grammar_schema({"type": "integer", "exclusiveMinimum": 0, "maximum": 9.5})
    assert result == {"type": "integer", "minimum": 1, "maximum": 9}


def test_one_of_the_parts_joined_by_all_of_keeps_every_property():
    parts = [
        {"properties": {"a": {"type": "integer"}}, "required": ["a"]},
        {"properties": {"b": {"type": "null"}}, "required": ["b"]},
    ]
    result = grammar_schema({"type": "object", "allOf": parts})
    assert result["required"] == ["a", "b"]
    assert set(result["properties"]) == {"a", "b"}


def test_a_reference_out_of_the_document_is_refused():
    with pytest.raises(EffectFailed, match="elsewhere"):
        grammar_schema({"$ref": "elsewhere.json#/x"})


def test_a_schema_made_to_exhaust_the_server_is_refused():
    wide = {"type": "object", "properties": {f"p{n}": {"type": "integer"} for n in range(MAX_NODES)}}
    with pytest.raises(EffectFailed, match="parts"):
        grammar_schema(wide)


@pytest.mark.parametrize(
    ("pattern", "taken"),
    [
        ("^[a-z]{3,8}$", "^[a-z]{3,8}$"),
        (r"^\d{4}-\d{2}$", "^[0-9]{4}-[0-9]{2}$"),
        (r"^v\d+\.\d+$", "^v[0-9]+[.][0-9]+$"),
        ("[a-z]+", None),  # may stand anywhere: a grammar is about the whole
        ("^(?!x)[a-z]+$", None),
        ("^.{3}$", None),  # would let a quote end the string
        ('^[^"]*$', None),
        ("^[a-z]{5,3}$", None),
        ("^[a-z]{100000}$", None),
        (r"^\p{L}+$", None),
        (None, None),
    ],
)
def test_only_patterns_that_a_grammar_follows_are_kept(pattern, taken):
    assert grammar_pattern(pattern) == taken
