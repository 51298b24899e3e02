"""The codec endpoint of Temporal UI and CLI: payloads to clear text and back, with our keys.

It answers a token, or the machine itself: a caller on loopback that asks this host by its own name, from the Temporal
UI's origin or from no page at all. A page elsewhere cannot reach it through a browser, nor anybody through a proxy.
"""

import json
from ipaddress import ip_address
from typing import Annotated, Any
from urllib.parse import urlsplit

from fastapi import APIRouter, Depends, Request, Response
from google.protobuf.json_format import MessageToDict, ParseDict, ParseError
from starlette.responses import JSONResponse
from temporalio.api.common.v1 import Payloads
from temporalio.converter import PayloadCodec

from api.deps import Soma, State
from api.middleware.problems import responses
from capsules.errors import Denied, Invalid, SomaError, Unauthenticated
from capsules.identity.principal import Principal

router = APIRouter(prefix="/v1/codec", tags=["codec"])

LOCAL_NAMES = {"localhost", "127.0.0.1", "::1"}
FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip")
PAYLOADS: dict[str, Any] = {
    "type": "object",
    "properties": {
        "payloads": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "metadata": {"type": "object", "additionalProperties": {"type": "string", "format": "byte"}},
                    "data": {"type": "string", "format": "byte"},
                },
            },
        }
    },
}
BODY = {"requestBody": {"required": True, "content": {"application/json": {"schema": PAYLOADS}}}}
ANSWER: dict[int | str, dict[str, Any]] = {200: {"content": {"application/json": {"schema": PAYLOADS}}}}


def _reader(request: Request, soma: Soma) -> None:
    caller: Principal | SomaError | None = request.scope.get("somagent.caller")
    if isinstance(caller, SomaError):
        raise caller
    if caller is not None:
        if "run:read" not in caller.capabilities:
            raise Denied("This needs the capability 'run:read'.", capability="run:read")
    elif not _is_this_machine(request, soma):
        raise Unauthenticated("Send a token, or ask from this machine by its own name.")


Reader = Annotated[None, Depends(_reader)]


@router.post("/encode", responses={**ANSWER, **responses()}, openapi_extra=BODY)
async def encode(request: Request, reader: Reader, soma: Soma) -> Response:
    """Encrypt payloads."""
    del reader
    return await _translated(request, soma, encrypting=True)


@router.post("/decode", responses={**ANSWER, **responses()}, openapi_extra=BODY)
async def decode(request: Request, reader: Reader, soma: Soma) -> Response:
    """Decrypt payloads, so that a person sees clear text in Temporal UI."""
    del reader
    return await _translated(request, soma, encrypting=False)


@router.options("/{operation}", include_in_schema=False)
async def preflight(operation: str, request: Request, soma: Soma) -> Response:
    """Answer a browser's question whether the Temporal UI's page may ask."""
    del operation
    return Response(status_code=204, headers=_cors(request, soma))


async def _translated(request: Request, soma: State, *, encrypting: bool) -> Response:
    given = _payloads(await request.body())
    codec = soma.temporal.data_converter.payload_codec
    assert isinstance(codec, PayloadCodec)  # `somagent.temporal.client.connect` always sets one
    translated = await (codec.encode if encrypting else codec.decode)(given.payloads)
    return JSONResponse(MessageToDict(Payloads(payloads=translated)), headers=_cors(request, soma))


def _payloads(body: bytes) -> Payloads:
    try:
        document = json.loads(body)
        if isinstance(document, dict):  # the parser takes an empty list for an empty object
            return ParseDict(document, Payloads())
    except (ParseError, UnicodeDecodeError, RecursionError, ValueError) as error:
        problems = [{"path": "body", "message": str(error)[:300]}]
        raise Invalid("The body is not a list of Temporal payloads.", problems=problems) from error
    raise Invalid("The body is not an object with `payloads`.", problems=[{"path": "body", "message": "not an object"}])


def _cors(request: Request, soma: State) -> dict[str, str]:
    origin = request.headers.get("origin")
    if origin not in _ui_origins(soma):
        return {}
    return {
        "Access-Control-Allow-Origin": str(origin),
        "Access-Control-Allow-Methods": "POST, OPTIONS",
        "Access-Control-Allow-Headers": "content-type, authorization, x-namespace",
        "Access-Control-Max-Age": "600",
        "Vary": "Origin",
    }


def _ui_origins(soma: State) -> set[str]:
    port = soma.settings.temporal_ui_port
    return {f"http://{soma.settings.host}:{port}", f"http://localhost:{port}"}


def _is_this_machine(request: Request, soma: State) -> bool:
    headers, origin = request.headers, request.headers.get("origin")
    name = urlsplit(f"//{headers.get('host', '')}").hostname
    return (
        request.client is not None
        and _is_loopback(request.client.host)
        and name in LOCAL_NAMES | {soma.settings.host}
        and (origin is None or origin in _ui_origins(soma))
        and not any(header in headers for header in FORWARDED)
    )


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
