"""Remote codec of Temporal UI and CLI: encrypts and decrypts payloads with the keys of this installation.

A caller needs a token with `run:read`, or must be on this machine: a loopback address, a local host name, no proxy
header, and no page or the page of Temporal UI. A page of another origin cannot reach it through a browser.
"""

import json
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from fastapi import Depends, Request, Response
from google.protobuf.json_format import MessageToDict, ParseDict, ParseError
from starlette.responses import JSONResponse
from temporalio.api.common.v1 import Payloads
from temporalio.converter import PayloadCodec

from api.access import require_capability
from api.deps import State, StateDep
from api.middleware.problems import resource_router
from capsules.errors import Invalid, SomaError, Unauthenticated
from capsules.identity.principal import Principal

router = resource_router("/v1/codec", "codec")

LOCAL_NAMES = {"localhost", "127.0.0.1", "::1"}
PROXY_HEADERS = ("forwarded", "x-forwarded-for", "x-real-ip")
BYTES = {"type": "string", "format": "byte"}
PAYLOAD = {"metadata": {"type": "object", "additionalProperties": BYTES}, "data": BYTES}
PAYLOADS = {"payloads": {"type": "array", "items": {"type": "object", "properties": PAYLOAD}}}
CONTENT = {"application/json": {"schema": {"type": "object", "properties": PAYLOADS}}}
BODY = {"requestBody": {"required": True, "content": CONTENT}}
PAYLOADS_RESPONSE: dict[int | str, dict[str, Any]] = {200: {"content": CONTENT}}


def _require_reader(request: Request, state: StateDep) -> None:
    caller: Principal | SomaError | None = request.scope.get("somagent.caller")
    if isinstance(caller, SomaError):
        raise caller
    if caller is not None:
        require_capability(caller, "run:read")
    elif not _is_this_machine(request, state):
        raise Unauthenticated("Send a token, or call from this machine by a local host name and without a proxy.")


@router.post("/encode", responses=PAYLOADS_RESPONSE, openapi_extra=BODY, dependencies=[Depends(_require_reader)])
async def encode(request: Request, state: StateDep) -> Response:
    """Encrypt payloads."""
    return await _convert(request, state, encrypt=True)


@router.post("/decode", responses=PAYLOADS_RESPONSE, openapi_extra=BODY, dependencies=[Depends(_require_reader)])
async def decode(request: Request, state: StateDep) -> Response:
    """Decrypt payloads, so that Temporal UI shows clear text."""
    return await _convert(request, state, encrypt=False)


@router.options("/{operation}", include_in_schema=False)
async def preflight(operation: str, request: Request, state: StateDep) -> Response:
    """Answer the CORS preflight request of a browser that shows Temporal UI."""
    del operation
    return Response(status_code=204, headers=_cors(request, state))


async def _convert(request: Request, state: State, *, encrypt: bool) -> Response:
    payloads = _parse_payloads(await request.body()).payloads
    codec = state.temporal.data_converter.payload_codec
    assert isinstance(codec, PayloadCodec)  # `somagent.temporal.client.connect` always sets one
    converted = await (codec.encode if encrypt else codec.decode)(payloads)
    return JSONResponse(MessageToDict(Payloads(payloads=converted)), headers=_cors(request, state))


def _parse_payloads(body: bytes) -> Payloads:
    try:
        document = json.loads(body)
        if isinstance(document, dict):  # the parser takes an empty list for an empty object
            return ParseDict(document, Payloads())
    except (ParseError, UnicodeDecodeError, RecursionError, ValueError) as error:
        problems = [{"path": "body", "message": str(error)[:300]}]
        raise Invalid("The field `payloads` is not a list of Temporal payloads.", problems=problems) from error
    raise Invalid("The body is not an object with `payloads`.", problems=[{"path": "body", "message": "not an object"}])


def _cors(request: Request, state: State) -> dict[str, str]:
    origin = request.headers.get("origin")
    if origin not in _ui_origins(state):
        return {}
    return {
        "Access-Control-Allow-Origin": str(origin),
        "Access-Control-Allow-Methods": "POST, OPTIONS",
        "Access-Control-Allow-Headers": "content-type, authorization, x-namespace",
        "Access-Control-Max-Age": "600",
        "Vary": "Origin",
    }


def _ui_origins(state: State) -> set[str]:
    port = state.settings.temporal_ui_port
    return {f"http://{state.settings.host}:{port}", f"http://localhost:{port}"}


def _is_this_machine(request: Request, state: State) -> bool:
    headers, origin = request.headers, request.headers.get("origin")
    name = urlsplit(f"//{headers.get('host', '')}").hostname
    return (
        request.client is not None
        and _is_loopback(request.client.host)
        and name in LOCAL_NAMES | {state.settings.host}
        and (origin is None or origin in _ui_origins(state))
        and not any(header in headers for header in PROXY_HEADERS)
    )


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
