"""A provider that gives no usage: the call is counted here, marked so, and never below what was really written.

llama.cpp itself, asked without `stream_options`, gives none. What stands before it here takes that member out of each
request and changes nothing else; every word is the model's.
"""

from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse
from servers import serving_app

from capsules.models.chat import Message
from somagent.models.client import PydanticAiModel, estimate_usage
from somagent.models.profiles import Profiles
from somagent.settings import Settings

QUESTION = (
    Message(role="system", text="You answer in one sentence."),
    Message(role="user", text="Why does a ledger have two columns, and who reads them?"),
)


def unasked_for_usage(base: str) -> FastAPI:
    app = FastAPI()

    @app.post("/v1/chat/completions")
    async def pass_on(request: Request) -> StreamingResponse:
        body = await request.json()
        assert body.pop("stream_options") == {"include_usage": True}

        async def pieces() -> AsyncIterator[bytes]:
            async with (
                httpx.AsyncClient(timeout=60) as client,
                client.stream("POST", f"{base}/chat/completions", json=body) as answer,
            ):
                async for piece in answer.aiter_bytes():
                    yield piece

        return StreamingResponse(pieces(), media_type="text/event-stream")

    return app


@pytest.fixture
async def sparing(slm_base: str) -> AsyncIterator[str]:
    async with serving_app(unasked_for_usage(slm_base)) as base:
        yield f"{base}/v1"


async def test_a_provider_without_usage_is_counted_here(
    model: PydanticAiModel, settings: Settings, sparing: str
) -> None:
    other = settings.model_copy(update={"slm_profiles": {"dialogue": {"base_url": sparing}}})
    asked = {"role": "dialogue", "answer": None, "max_output_tokens": 40, "temperature": 0.0}
    told = await model.complete(QUESTION, **asked)
    async with PydanticAiModel(Profiles.from_settings(other)) as uncounted:
        counted = await uncounted.complete(QUESTION, **asked)
    assert counted.text == told.text
    assert (told.usage.estimated, counted.usage.estimated) == (False, True)
    assert counted.usage.output_tokens >= told.usage.output_tokens - 1, "the token that ends a reply has no text"
    assert told.usage.input_tokens <= counted.usage.input_tokens <= 3 * told.usage.input_tokens


def test_an_estimate_says_that_it_is_one():
    usage = estimate_usage((Message(role="user", text="héllo wörld"),), "twelve bytes", pieces=7)
    assert usage.estimated
    assert usage.output_tokens == 7
    assert usage.input_tokens == 5 + 8 + 8
