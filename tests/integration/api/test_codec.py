"""The codec endpoint: what it decodes, for whom, and what it refuses."""

import httpx
import pytest
from api_callers import Callers, assert_problem
from google.protobuf.json_format import MessageToDict
from temporalio.api.common.v1 import Payloads

from api.deps import State


async def test_the_codec_opens_for_a_token_and_for_this_machine_only(
    http: httpx.AsyncClient, callers: Callers, state: State
) -> None:
    (sealed,) = await state.temporal.data_converter.encode([{"greeting": "hello"}])
    body = MessageToDict(Payloads(payloads=[sealed]))
    assert "hello" not in str(body)
    ui = f"http://{state.settings.host}:{state.settings.temporal_ui_port}"
    local = await http.post("/v1/codec/decode", json=body, headers={"Origin": ui})
    assert local.status_code == 200
    assert local.headers["access-control-allow-origin"] == ui
    (opened,) = await state.temporal.data_converter.decode([await _payload(local)])
    assert opened == {"greeting": "hello"}
    for headers in (
        {"Origin": "http://evil.example"},
        {"Host": "evil.example"},
        {"X-Forwarded-For": "203.0.113.9"},
    ):
        refused = await http.post("/v1/codec/decode", json=body, headers=headers)
        assert_problem(refused, 401, "Unauthenticated")
        assert "access-control-allow-origin" not in refused.headers
    away = {"X-Forwarded-For": "203.0.113.9"}
    assert (await http.post("/v1/codec/decode", json=body, headers=callers.all() | away)).status_code == 200
    assert_problem(
        await http.post("/v1/codec/decode", json=body, headers=callers.without("run:read")), 403, "Denied", "run:read"
    )
    asked = await http.options("/v1/codec/decode", headers={"Origin": ui})
    assert "x-namespace" in asked.headers["access-control-allow-headers"]


@pytest.mark.parametrize("body", ["", "[]", "{", '{"payloads": [1]}', '{"payloads": 1}', "\x00"])
async def test_what_is_no_payload_is_refused(http: httpx.AsyncClient, callers: Callers, body: str) -> None:
    answer = await http.post("/v1/codec/decode", content=body, headers=callers.all())
    assert_problem(answer, 422, "Invalid")


async def _payload(answer: httpx.Response):
    from google.protobuf.json_format import ParseDict  # noqa: PLC0415

    return ParseDict(answer.json(), Payloads()).payloads[0]
