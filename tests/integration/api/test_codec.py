"""The codec endpoint: what it decrypts, for whom, and what it refuses."""

from collections.abc import AsyncIterator

import httpx
import pytest
from api_callers import Callers, assert_problem
from google.protobuf.json_format import MessageToDict, ParseDict
from temporalio.api.common.v1 import Payload, Payloads
from temporalio.converter import PayloadConverter, WorkflowSerializationContext

from api.deps import State
from capsules.identity.authority import Authority
from somagent.identity.ui_secret import forget_secret, keep_secret

SECRET = "of-this-test"


async def sealed(state: State, value: object, workflow: str) -> Payload:
    context = WorkflowSerializationContext(state.temporal.namespace, workflow)
    [payload] = await state.temporal.data_converter.with_context(context).encode([value])
    return payload


def body(*payloads: Payload) -> dict[str, object]:
    return MessageToDict(Payloads(payloads=payloads))


def payloads(answer: httpx.Response) -> list[Payload]:
    assert answer.status_code == 200, answer.text
    return list(ParseDict(answer.json(), Payloads()).payloads)


def ui_origin(state: State) -> str:
    return f"http://{state.settings.host}:{state.settings.temporal_ui_port}"


@pytest.fixture
async def ui(state: State) -> AsyncIterator[str]:
    """The address of the local Temporal UI's codec."""
    keep_secret(state.settings.home, SECRET)
    yield f"/v1/codec/ui/{SECRET}"
    forget_secret(state.settings.home)


async def test_a_reader_sees_the_payloads_of_their_own_tenant(
    http: httpx.AsyncClient, callers: Callers, state: State
) -> None:
    mine = await sealed(state, {"greeting": "hello"}, f"{callers.tenant}/asks/1")
    theirs = await sealed(state, {"greeting": "hello"}, "elsewhere/asks/1")
    near = await sealed(state, {"greeting": "hello"}, f"{callers.tenant}x/asks/1")
    opened, *closed = payloads(
        await http.post("/v1/codec/decode", json=body(mine, theirs, near), headers=callers.all())
    )
    assert PayloadConverter.default.from_payload(opened) == {"greeting": "hello"}
    assert closed == [theirs, near]


async def test_a_payload_without_a_binding_stays_encrypted(
    http: httpx.AsyncClient, callers: Callers, state: State
) -> None:
    [unbound] = await state.temporal.data_converter.encode([{"greeting": "hello"}])
    assert payloads(await http.post("/v1/codec/decode", json=body(unbound), headers=callers.all())) == [unbound]


async def test_an_authority_is_not_shown(http: httpx.AsyncClient, callers: Callers, state: State) -> None:
    run = f"{callers.tenant}/asks/1"
    authority = Authority(
        kind="start", tenant=callers.tenant, actor="a", run=run, account="tenant:x", expires_at=4_000_000_000
    )
    token = state.tokens.mint_authority(authority)
    payload = await sealed(state, {"authority": token, "more": [f"Bearer {token}"], "inputs": {"a": 1}}, run)
    [opened] = payloads(await http.post("/v1/codec/decode", json=body(payload), headers=callers.all()))
    assert PayloadConverter.default.from_payload(opened)["inputs"] == {"a": 1}
    assert not any(part in opened.data.decode() for part in token.split("."))


async def test_nobody_encrypts(http: httpx.AsyncClient, callers: Callers, state: State, ui: str) -> None:
    clear = Payload(metadata={"encoding": b"json/plain"}, data=b"{}")
    assert payloads(await http.post("/v1/codec/encode", json=body(clear), headers=callers.all())) == [clear]
    assert payloads(await http.post(f"{ui}/encode", json=body(clear))) == [clear]


@pytest.mark.parametrize("operation", ["decode", "encode"])
async def test_this_machine_is_no_credential(http: httpx.AsyncClient, state: State, operation: str) -> None:
    payload = await sealed(state, {"greeting": "hello"}, f"{state.settings.platform_tenant}/asks/1")
    refused = await http.post(f"/v1/codec/{operation}", json=body(payload), headers={"Origin": ui_origin(state)})
    assert_problem(refused, 401, "Unauthenticated")


async def test_a_reader_needs_the_capability(http: httpx.AsyncClient, callers: Callers) -> None:
    refused = await http.post("/v1/codec/decode", json=body(), headers=callers.without("run:read"))
    assert_problem(refused, 403, "Denied", "run:read")


async def test_the_local_ui_sees_the_platform_tenant_by_its_secret(
    http: httpx.AsyncClient, state: State, ui: str
) -> None:
    mine = await sealed(state, "hello", f"{state.settings.platform_tenant}/asks/1")
    theirs = await sealed(state, "hello", "elsewhere/asks/1")
    answer = await http.post(f"{ui}/decode", json=body(mine, theirs), headers={"Origin": ui_origin(state)})
    opened, closed = payloads(answer)
    assert answer.headers["access-control-allow-origin"] == ui_origin(state)
    assert (opened.data, closed) == (b'"hello"', theirs)


@pytest.mark.parametrize(
    "headers",
    [{"Origin": "http://evil.example"}, {"Host": "evil.example"}, {"X-Forwarded-For": "203.0.113.9"}],
)
async def test_the_secret_serves_only_the_ui_on_this_machine(
    http: httpx.AsyncClient, ui: str, headers: dict[str, str]
) -> None:
    refused = await http.post(f"{ui}/decode", json=body(), headers=headers)
    assert_problem(refused, 401, "Unauthenticated")
    assert "access-control-allow-origin" not in refused.headers


async def test_a_secret_of_another_or_an_ended_stack_is_refused(http: httpx.AsyncClient, state: State, ui: str) -> None:
    assert_problem(await http.post("/v1/codec/ui/guessed/decode", json=body()), 401, "Unauthenticated")
    forget_secret(state.settings.home)
    assert_problem(await http.post(f"{ui}/decode", json=body()), 401, "Unauthenticated")


async def test_the_browser_of_the_ui_may_ask(http: httpx.AsyncClient, state: State, ui: str) -> None:
    for path in ("/v1/codec/decode", f"{ui}/decode"):
        asked = await http.options(path, headers={"Origin": ui_origin(state)})
        assert "x-namespace" in asked.headers["access-control-allow-headers"]


@pytest.mark.parametrize("text", ["", "[]", "{", '{"payloads": [1]}', '{"payloads": 1}', "\x00"])
async def test_what_is_no_payload_is_refused(http: httpx.AsyncClient, callers: Callers, text: str) -> None:
    answer = await http.post("/v1/codec/decode", content=text, headers=callers.all())
    assert_problem(answer, 422, "Invalid")
