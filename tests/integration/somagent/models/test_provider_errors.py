"""What a model server does wrong, and what we say of it. Every failure here is a real server's."""

import asyncio
import os
import signal
from pathlib import Path
from typing import get_args

import httpx
import pytest
from servers import free_ports, running, settings_in, temporary_home

from capsules.errors import EffectFailed, Unavailable
from capsules.models.chat import Message
from somagent.models.client import PydanticAiModel, Timeouts
from somagent.models.profiles import Profile, Profiles, ProviderKind
from somagent.models.providers import PROVIDERS

HELLO = (Message(role="user", text="Write a very long story about a lighthouse."),)


def at(base_url: str, **timeouts: float) -> PydanticAiModel:
    return PydanticAiModel(
        Profiles(default=Profile(model="smollm2-135m-instruct", base_url=base_url)), timeouts=Timeouts(**timeouts)
    )


async def ask(model: PydanticAiModel, *, text: str = "Hi", tokens: int = 4, **rest) -> None:
    await model.complete(
        (Message(role="user", text=text),),
        role="dialogue",
        answer=rest.pop("answer", None),
        max_output_tokens=tokens,
        temperature=0.0,
        **rest,
    )


async def busy_slots(base_url: str) -> int:
    async with httpx.AsyncClient() as client:
        slots = (await client.get(f"{base_url.removesuffix('/v1')}/slots")).json()
    return sum(slot["is_processing"] for slot in slots)


async def test_a_server_that_is_down_is_unavailable_and_named():
    [port] = free_ports(1)
    async with at(f"http://127.0.0.1:{port}/v1") as model:
        with pytest.raises(Unavailable) as failed:
            await ask(model)
    assert failed.value.fields["address"] == f"http://127.0.0.1:{port}/v1"
    assert str(port) in failed.value.message


async def test_a_wrong_path_is_said_to_be_one(slm_base: str):
    async with at(slm_base.replace("/v1", "/v9")) as model:
        with pytest.raises(EffectFailed, match="usually ends in /v1"):
            await ask(model)


async def test_a_server_that_speaks_something_else_is_no_model_server(valkey: str):
    async with at(valkey.replace("redis://", "http://").removesuffix("/0")) as model:
        with pytest.raises(Unavailable):
            await ask(model)


async def test_a_request_beyond_the_window_names_the_limit(model: PydanticAiModel):
    with pytest.raises(EffectFailed, match="4096") as failed:
        await ask(model, text="a b c d " * 2000)
    assert failed.value.fields["window"] == 4096
    assert failed.value.fields["tokens"] > 8000


async def test_a_schema_that_the_server_rejects_fails_for_good(model: PydanticAiModel):
    with pytest.raises(EffectFailed, match="rejects the request"):
        await ask(model, answer={"type": "object", "properties": {"x": {"$ref": "#/$defs/missing"}}})


async def test_a_contradictory_schema_leaves_the_server_alive(model: PydanticAiModel):
    with pytest.raises(EffectFailed, match="cannot be satisfied"):
        await ask(model, answer={"type": "array", "items": {"type": "integer"}, "minItems": 5, "maxItems": 3})
    await ask(model)


async def test_cancelling_stops_the_server_from_writing(model: PydanticAiModel, slm_base: str):
    began = asyncio.Event()

    async def notice(_: str) -> None:
        began.set()

    task = asyncio.create_task(ask(model, text=HELLO[0].text, tokens=2000, on_delta=notice))
    await asyncio.wait_for(began.wait(), 60)
    assert await busy_slots(slm_base) == 1
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with asyncio.timeout(5):
        while await busy_slots(slm_base):  # noqa: ASYNC110 - the server tells nobody
            await asyncio.sleep(0.05)


async def test_a_server_that_dies_or_freezes_in_mid_reply_is_unavailable():
    with temporary_home() as home:
        await _dies_or_freezes(home)


async def _dies_or_freezes(home: Path) -> None:
    settings = settings_in(home)
    async with running(settings, "slm") as supervisor:
        process = supervisor.runners["slm"].state.process.pid
        async with at(settings.slm_base(), read=2) as model:

            async def freeze(_: str) -> None:
                os.kill(process, signal.SIGSTOP)

            with pytest.raises(Unavailable, match="cannot be used now"):
                await ask(model, text=HELLO[0].text, tokens=500, on_delta=freeze)
            os.kill(process, signal.SIGCONT)

            async def kill(_: str) -> None:
                os.kill(process, signal.SIGKILL)

            with pytest.raises(Unavailable, match="cannot be used now"):
                await ask(model, text=HELLO[0].text, tokens=500, on_delta=kill)


def test_every_kind_of_provider_can_be_built():
    assert PROVIDERS.keys() == set(get_args(ProviderKind))
