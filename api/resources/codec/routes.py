"""Remote codec of Temporal UI and CLI: decrypts the payloads of the caller's tenant.

A payload names the workflow that it is bound to, so the caller gets those of their own tenant's runs; every other one
stays encrypted. Tokens inside a payload are not shown: whoever reads a run must not be able to act as it.

Temporal UI sends no token. The local stack gives it an address with a secret of its own, made at each start.
"""

import json
import re
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from fastapi import Request, Response
from google.protobuf.json_format import MessageToDict, ParseDict, ParseError
from starlette.responses import JSONResponse
from temporalio.api.common.v1 import Payload, Payloads

from api.access import RunReader
from api.deps import State, StateDep
from api.middleware.problems import resource_router
from capsules.actions.ledger_messages import tenant_of
from capsules.errors import Invalid, TamperedContent, Unauthenticated
from capsules.identity.principal import Principal
from somagent.identity.keys import KeyMissing
from somagent.identity.ui_secret import is_secret
from somagent.temporal.codec import EncryptionCodec

router = resource_router("/v1/codec", "codec")

UI_SUBJECT = "temporal-ui"
LOCAL_NAMES = {"localhost", "127.0.0.1", "::1"}
PROXY_HEADERS = ("forwarded", "x-forwarded-for", "x-real-ip")
TOKEN = re.compile(rb"eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}")
"""A JSON Web Token: an authority, an attestation or an access token."""
REDACTED = b"(a token, which is not shown)"
BYTES = {"type": "string", "format": "byte"}
PAYLOAD = {"metadata": {"type": "object", "additionalProperties": BYTES}, "data": BYTES}
PAYLOADS = {"payloads": {"type": "array", "items": {"type": "object", "properties": PAYLOAD}}}
CONTENT = {"application/json": {"schema": {"type": "object", "properties": PAYLOADS}}}
BODY = {"requestBody": {"required": True, "content": CONTENT}}
PAYLOADS_RESPONSE: dict[int | str, dict[str, Any]] = {200: {"content": CONTENT}}


@router.post("/encode", responses=PAYLOADS_RESPONSE, openapi_extra=BODY)
async def encode(request: Request, state: StateDep, _: RunReader) -> Response:
    """Return payloads as they are: a caller cannot encrypt, and a decision carries its attestation in clear text."""
    return _respond(await _read_payloads(request), request, state)


@router.post("/decode", responses=PAYLOADS_RESPONSE, openapi_extra=BODY)
async def decode(request: Request, state: StateDep, caller: RunReader) -> Response:
    """Decrypt the payloads of the caller's tenant, without tokens; the others stay encrypted."""
    return _respond([_decode(each, state, caller) for each in await _read_payloads(request)], request, state)


@router.post("/ui/{secret}/encode", include_in_schema=False)
async def encode_for_ui(secret: str, request: Request, state: StateDep) -> Response:
    """As `encode`, for the local stack's Temporal UI."""
    _require_ui(secret, request, state)
    return _respond(await _read_payloads(request), request, state)


@router.post("/ui/{secret}/decode", include_in_schema=False)
async def decode_for_ui(secret: str, request: Request, state: StateDep) -> Response:
    """As `decode`, for the local stack's Temporal UI: it sees the platform tenant's runs."""
    caller = _require_ui(secret, request, state)
    return _respond([_decode(each, state, caller) for each in await _read_payloads(request)], request, state)


@router.options("/ui/{secret}/{operation}", include_in_schema=False)
@router.options("/{operation}", include_in_schema=False)
async def preflight(request: Request, state: StateDep) -> Response:
    """Answer the CORS preflight request of a browser that shows Temporal UI."""
    return Response(status_code=204, headers=_cors(request, state))


def _decode(payload: Payload, state: State, caller: Principal) -> Payload:
    """Return the clear text without tokens, or the payload itself when it is of another tenant or not authentic."""
    codec = state.temporal.data_converter.payload_codec
    assert isinstance(codec, EncryptionCodec)  # `somagent.temporal.client.connect` always sets one
    try:
        binding, opened = codec.open(payload)
    except (TamperedContent, KeyMissing):
        return payload
    # A payload from before bindings names no run, so nobody can say whose it is.
    if binding is None or tenant_of(binding.workflow) != caller.tenant:
        return payload
    return Payload(metadata=opened.metadata, data=TOKEN.sub(REDACTED, opened.data))


def _require_ui(secret: str, request: Request, state: State) -> Principal:
    """Return the local Temporal UI's principal. Raises Unauthenticated for another caller."""
    if not (_is_this_machine(request, state) and is_secret(state.settings.home, secret)):
        raise Unauthenticated("This is the address of the local stack's Temporal UI. Others send a token to /v1/codec.")
    return Principal(tenant=state.settings.platform_tenant, subject=UI_SUBJECT, capabilities=frozenset({"run:read"}))


async def _read_payloads(request: Request) -> list[Payload]:
    body = await request.body()
    try:
        document = json.loads(body)
        if isinstance(document, dict):  # the parser takes an empty list for an empty object
            return list(ParseDict(document, Payloads()).payloads)
    except (ParseError, UnicodeDecodeError, RecursionError, ValueError) as error:
        problems = [{"path": "body", "message": str(error)[:300]}]
        raise Invalid("The field `payloads` is not a list of Temporal payloads.", problems=problems) from error
    raise Invalid("The body is not an object with `payloads`.", problems=[{"path": "body", "message": "not an object"}])


def _respond(payloads: list[Payload], request: Request, state: State) -> Response:
    return JSONResponse(MessageToDict(Payloads(payloads=payloads)), headers=_cors(request, state))


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
