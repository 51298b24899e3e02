"""Replies of the real model: valid against their schema, streamed, counted."""

import json

import httpx
import pytest
from jsonschema import Draft202012Validator

from capsules.errors import EffectFailed
from capsules.models.chat import Message
from somagent.models.client import PydanticAiModel

LABEL = {"enum": ["bug", "feature", "question"]}
SHORT = {"type": "string", "maxLength": 24}
SCHEMAS = {
    "flat object": {
        "type": "object",
        "properties": {"label": LABEL, "why": {"type": "string", "minLength": 1, "maxLength": 40}},
        "required": ["label", "why"],
        "additionalProperties": False,
    },
    "nested object": {
        "type": "object",
        "properties": {
            "issue": {
                "type": "object",
                "properties": {"title": SHORT, "closed": {"type": "boolean"}},
                "required": ["title", "closed"],
            }
        },
        "required": ["issue"],
    },
    "bounded array": {"type": "array", "items": SHORT, "minItems": 2, "maxItems": 3},
    "array of objects": {
        "type": "array",
        "items": {"type": "object", "properties": {"name": SHORT}, "required": ["name"]},
        "minItems": 1,
        "maxItems": 2,
    },
    "any of two shapes": {
        "anyOf": [
            {
                "type": "object",
                "properties": {"do": {"const": "finish"}, "result": SHORT},
                "required": ["do", "result"],
            },
            {"type": "object", "properties": {"do": {"const": "act"}, "tool": LABEL}, "required": ["do", "tool"]},
        ]
    },
    "constant": {"const": {"version": 1}},
    "mixed enumeration": {"enum": ["none", 3, None, True]},
    "whole number in bounds": {"type": "integer", "minimum": 1, "maximum": 12},
    "nullable": {
        "type": "object",
        "properties": {"note": {"type": ["string", "null"], "maxLength": 10}},
        "required": ["note"],
    },
    "definitions": {
        "$defs": {"place": {"type": "object", "properties": {"city": SHORT}, "required": ["city"]}},
        "type": "object",
        "properties": {"from": {"$ref": "#/$defs/place"}, "to": {"$ref": "#/$defs/place"}},
        "required": ["from", "to"],
    },
    "pattern and format": {
        "type": "object",
        "properties": {
            "id": {"type": "string", "pattern": r"^[A-Z]{3}-\d{4}$"},
            "day": {"type": "string", "format": "date"},
        },
        "required": ["id", "day"],
    },
    "free values": {"type": "object", "properties": {"ok": {"type": "boolean"}, "rest": True}, "required": ["ok"]},
    "property that is only required": {"type": "object", "required": ["seen"]},
    "joined parts": {
        "allOf": [
            {"type": "object", "properties": {"a": {"type": "integer", "minimum": 0, "maximum": 9}}, "required": ["a"]},
            {"properties": {"b": LABEL}, "required": ["b"]},
        ]
    },
    "tuple": {"type": "array", "prefixItems": [SHORT, {"type": "boolean"}], "items": False},
}
QUESTION = (
    Message(role="system", text="You answer in JSON."),
    Message(role="user", text="The login page shows an error since Monday. Describe it."),
)


@pytest.mark.parametrize("name", SCHEMAS)
async def test_a_reply_follows_its_schema(model: PydanticAiModel, name: str):
    reply = await model.complete(
        QUESTION, role="dialogue", answer=SCHEMAS[name], max_output_tokens=400, temperature=0.0
    )
    assert reply.finish_reason == "stop", reply.text
    Draft202012Validator(SCHEMAS[name]).validate(json.loads(reply.text))


async def test_the_pieces_joined_are_the_text(model: PydanticAiModel):
    pieces: list[str] = []

    async def keep(piece: str) -> None:
        pieces.append(piece)

    reply = await model.complete(
        QUESTION, role="dialogue", answer=None, max_output_tokens=40, temperature=0.0, on_delta=keep
    )
    assert len(pieces) > 5
    assert "".join(pieces) == reply.text


async def test_usage_is_what_the_server_counts(model: PydanticAiModel, slm_base: str):
    reply = await model.complete(QUESTION, role="dialogue", answer=None, max_output_tokens=4, temperature=0.0)
    messages = [{"role": m.role, "content": m.text} for m in QUESTION]
    async with httpx.AsyncClient(timeout=60) as client:
        answer = await client.post(f"{slm_base}/chat/completions", json={"messages": messages, "max_tokens": 4})
    assert reply.usage.input_tokens == answer.json()["usage"]["prompt_tokens"]
    assert reply.usage.output_tokens == 4
    assert not reply.usage.estimated
    assert reply.finish_reason == "length"


async def test_every_message_of_a_conversation_reaches_the_model(model: PydanticAiModel):
    conversation = (
        *QUESTION,
        Message(role="assistant", text="{}"),
        Message(role="user", text="Go on."),
    )
    counts = [
        (
            await model.complete(part, role="dialogue", answer=None, max_output_tokens=1, temperature=0.0)
        ).usage.input_tokens
        for part in (conversation[:2], conversation[:3], conversation)
    ]
    assert counts == sorted(set(counts)), "each message adds tokens"


async def test_eight_kilobytes_of_text_are_read(model: PydanticAiModel):
    text = ("The pump in hall four was switched off for maintenance and returned to service. " * 110)[:8192]
    reply = await model.complete(
        (Message(role="user", text=text),), role="dialogue", answer=None, max_output_tokens=4, temperature=0.0
    )
    assert 1_000 < reply.usage.input_tokens < 4_000


async def test_without_a_question_there_is_no_call(model: PydanticAiModel):
    with pytest.raises(EffectFailed, match="at least one message"):
        await model.complete(QUESTION[:1], role="dialogue", answer=None, max_output_tokens=4, temperature=0.0)
