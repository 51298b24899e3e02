"""Sender-bound credentials: a stolen token or key is worth nothing without the key of its sender."""

import base64
import dataclasses
import datetime as dt
import hashlib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote

import httpx
import jwt
import pytest
from api_callers import Callers, assert_problem
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from dpop_keys import DpopKey, base64url, decoded
from servers import free_ports, serving_app

from api.app import create_app
from api.deps import State

RUNS = "/v1/runs"
CERTIFICATE = "Client-Cert"


@pytest.fixture
def key() -> DpopKey:
    return DpopKey()


async def bound(http: httpx.AsyncClient, callers: Callers, key: DpopKey, **body: Any) -> dict[str, Any]:
    """Return a token that is bound to a key."""
    url = f"{http.base_url}/v1/tokens"
    headers = callers.all() | {"DPoP": key.proof("POST", url)}
    answer = await http.post("/v1/tokens", json={"bind": "dpop", **body}, headers=headers)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    assert (made["token_type"], made["confirmation"]) == ("DPoP", {"jkt": key.jkt})
    return made


def runs_url(http: httpx.AsyncClient) -> str:
    return f"{http.base_url}{RUNS}"


async def test_a_bound_token_works_with_its_key(http: httpx.AsyncClient, callers: Callers, key: DpopKey) -> None:
    token = (await bound(http, callers, key))["token"]
    assert decoded(token)["cnf"] == {"jkt": key.jkt}
    for _ in range(2):
        answer = await http.get(RUNS, headers=key.headers("GET", runs_url(http), token))
        assert answer.status_code == 200, answer.text
    # A query is not part of the URL that a proof is for (RFC 9449, 4.2).
    answer = await http.get(RUNS, params={"limit": 1}, headers=key.headers("GET", runs_url(http), token))
    assert answer.status_code == 200, answer.text


async def test_a_stolen_bound_token_is_refused_without_its_key(
    http: httpx.AsyncClient, callers: Callers, key: DpopKey
) -> None:
    token, thief = (await bound(http, callers, key))["token"], DpopKey()
    for headers, why in (
        ({"Authorization": f"Bearer {token}"}, "bound to a DPoP key"),
        ({"Authorization": f"DPoP {token}"}, "bound to a DPoP key"),
        (thief.headers("GET", runs_url(http), token), "another key"),
        # The thief's signature under the owner's public key.
        (thief.headers("GET", runs_url(http), token, header={"jwk": key.jwk}), "does not hold"),
    ):
        answer = await http.get(RUNS, headers=headers)
        assert_problem(answer, 401, "Unauthenticated", why)
        assert answer.headers["www-authenticate"].startswith('DPoP algs="ES256 ')
    minted = await http.post("/v1/tokens", json={}, headers={"Authorization": f"Bearer {token}"})
    assert_problem(minted, 401, "Unauthenticated")


async def test_a_replayed_proof_is_refused(http: httpx.AsyncClient, callers: Callers, key: DpopKey) -> None:
    token = (await bound(http, callers, key))["token"]
    headers = key.headers("GET", runs_url(http), token)
    assert (await http.get(RUNS, headers=headers)).status_code == 200
    answer = await http.get(RUNS, headers=headers)
    assert_problem(answer, 401, "Unauthenticated", "used already")
    assert 'error="invalid_dpop_proof"' in answer.headers["www-authenticate"]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"htm": "POST"}, "method 'POST'"),
        ({"htu": "http://elsewhere.example/v1/runs"}, "URL"),
        ({"htu": "http://127.0.0.1:1/v1/capsules"}, "URL"),
        ({"iat": int(time.time()) - 3600}, "last 60 seconds"),
        ({"iat": int(time.time()) + 3600}, "last 60 seconds"),
        ({"iat": "now"}, "last 60 seconds"),
        ({"ath": None}, "`ath`"),
        ({"ath": base64url(hashlib.sha256(b"another").digest())}, "`ath`"),
        ({"jti": None}, "jti"),
        ({"jti": ""}, "`jti`"),
        ({"jti": 7}, "JWT ID"),
        ({"header": {"typ": "JWT"}}, "dpop+jwt"),
        ({"header": {"jwk": None}}, "public key"),
        ({"header": {"jwk": {"kty": "oct", "k": "c2VjcmV0"}}}, "never a private one"),
        ({"header": {"jwk": {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}}}, "cannot be read"),
    ],
)
async def test_a_proof_for_anything_else_is_refused(
    http: httpx.AsyncClient, callers: Callers, key: DpopKey, changes: dict[str, Any], why: str
) -> None:
    token = (await bound(http, callers, key))["token"]
    answer = await http.get(RUNS, headers=key.headers("GET", runs_url(http), token, **changes))
    assert_problem(answer, 401, "Unauthenticated", why)


async def test_a_proof_by_a_shared_secret_or_without_signature_is_refused(
    http: httpx.AsyncClient, callers: Callers, key: DpopKey
) -> None:
    token = (await bound(http, callers, key))["token"]
    claims = decoded(key.proof("GET", runs_url(http), token))
    for algorithm, secret in (("HS256", "k" * 40), ("none", "")):
        proof = jwt.encode(claims, secret, algorithm=algorithm, headers={"typ": "dpop+jwt", "jwk": key.jwk})
        answer = await http.get(RUNS, headers={"Authorization": f"DPoP {token}", "DPoP": proof})
        assert_problem(answer, 401, "Unauthenticated", "one of the algorithms")
    two = [("Authorization", f"DPoP {token}"), *(("DPoP", key.proof("GET", runs_url(http), token)) for _ in range(2))]
    assert_problem(await http.get(RUNS, headers=two), 401, "Unauthenticated", "one `DPoP` header")
    unbound = callers.all()["Authorization"].replace("Bearer", "DPoP")
    assert_problem(await http.get(RUNS, headers={"Authorization": unbound}), 401, "Unauthenticated", "Bearer")


async def test_a_bound_family_is_renewed_with_its_key_only(
    http: httpx.AsyncClient, callers: Callers, key: DpopKey
) -> None:
    opened, thief = await bound(http, callers, key, refresh=True), DpopKey()
    url, body = f"{http.base_url}/v1/tokens/refresh", {"refresh_token": opened["refresh_token"]}
    for headers in ({}, {"DPoP": thief.proof("POST", url)}):
        assert_problem(await http.post(url, json=body, headers=headers), 401, "Unauthenticated", "DPoP key")
    renewed = await http.post(url, json=body, headers={"DPoP": key.proof("POST", url)})
    assert (renewed.status_code, renewed.json()["confirmation"]) == (200, {"jkt": key.jkt})
    token = renewed.json()["token"]
    assert_problem(await http.get(RUNS, headers={"Authorization": f"Bearer {token}"}), 401, "Unauthenticated")
    assert (await http.get(RUNS, headers=key.headers("GET", runs_url(http), token))).status_code == 200


async def test_a_token_from_a_bound_token_is_bound_too(http: httpx.AsyncClient, callers: Callers, key: DpopKey) -> None:
    token, url = (await bound(http, callers, key))["token"], f"{http.base_url}/v1/tokens"
    child = await http.post(url, json={"capabilities": ["run:read"]}, headers=key.headers("POST", url, token))
    assert (child.status_code, child.json()["confirmation"]) == (201, {"jkt": key.jkt})
    assert_problem(
        await http.get(RUNS, headers={"Authorization": f"Bearer {child.json()['token']}"}), 401, "Unauthenticated"
    )


async def test_an_api_key_of_a_service_is_bound(http: httpx.AsyncClient, callers: Callers, key: DpopKey) -> None:
    callers.all("service")
    body = {"subject": "service", "confirmation": {"jkt": key.jkt}}
    made = (await http.post("/v1/keys", json=body, headers=callers.all())).json()["key"]
    assert_problem(await http.get(RUNS, headers={"Authorization": f"Bearer {made}"}), 401, "Unauthenticated", "DPoP")
    answer = await http.get(RUNS, headers=key.headers("GET", runs_url(http), made))
    assert answer.status_code == 200, answer.text


async def test_without_a_key_nothing_is_bound(http: httpx.AsyncClient, callers: Callers) -> None:
    asked = await http.post("/v1/tokens", json={"bind": "dpop"}, headers=callers.all())
    assert_problem(asked, 401, "Unauthenticated", "`DPoP` header")
    asked = await http.post("/v1/tokens", json={"bind": "certificate"}, headers=callers.all())
    assert_problem(asked, 422, "Invalid", "trusted proxy")


@asynccontextmanager
async def serve(state: State, **changes: Any) -> AsyncIterator[httpx.AsyncClient]:
    """Serve the API with other settings."""
    port = free_ports(1)[0]
    settings = state.settings.model_copy(update={"api_port": port, **changes})
    other = dataclasses.replace(state, settings=settings, senders=dataclasses.replace(state.senders, settings=settings))
    async with serving_app(create_app(other), port) as base, httpx.AsyncClient(base_url=base, timeout=30) as client:
        yield client


@pytest.fixture
async def nonce_api(state: State) -> AsyncIterator[httpx.AsyncClient]:
    async with serve(state, dpop_nonce=True) as client:
        yield client


async def test_a_nonce_is_asked_for_where_the_setting_says_so(
    nonce_api: httpx.AsyncClient, http: httpx.AsyncClient, callers: Callers, key: DpopKey
) -> None:
    token = (await bound(http, callers, key))["token"]
    url = runs_url(nonce_api)
    for nonce in (None, "made-up"):
        answer = await nonce_api.get(RUNS, headers=key.headers("GET", url, token, nonce=nonce))
        assert_problem(answer, 401, "Unauthenticated", "nonce")
        assert 'error="use_dpop_nonce"' in answer.headers["www-authenticate"]
    given = answer.headers["dpop-nonce"]
    for _ in range(2):
        answer = await nonce_api.get(RUNS, headers=key.headers("GET", url, token, nonce=given))
        assert answer.status_code == 200, answer.text


@pytest.fixture
async def proxied_api(state: State) -> AsyncIterator[httpx.AsyncClient]:
    proxies = ("127.0.0.0/8",)
    async with serve(state, client_certificate_header=CERTIFICATE, trusted_proxies=proxies) as client:
        yield client


@pytest.fixture
async def open_api(state: State) -> AsyncIterator[httpx.AsyncClient]:
    """The same, but the proxy is elsewhere: whoever calls from here only says that it is one."""
    proxies = ("192.0.2.7/32",)
    async with serve(state, client_certificate_header=CERTIFICATE, trusted_proxies=proxies) as client:
        yield client


def certificate() -> x509.Certificate:
    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "service")])
    begins = dt.datetime.now(dt.UTC)
    ends = begins + dt.timedelta(days=1)
    builder = x509.CertificateBuilder(name, name, private.public_key(), x509.random_serial_number(), begins, ends)
    return builder.sign(private, SHA256())


def passed(one: x509.Certificate) -> dict[str, str]:
    """Return the header of RFC 9440."""
    return {CERTIFICATE: f":{base64.b64encode(one.public_bytes(Encoding.DER)).decode()}:"}


async def test_a_token_is_bound_to_the_client_certificate_that_a_trusted_proxy_passes(
    proxied_api: httpx.AsyncClient, open_api: httpx.AsyncClient, callers: Callers
) -> None:
    own, other = certificate(), certificate()
    made = await proxied_api.post("/v1/tokens", json={"bind": "certificate"}, headers=callers.all() | passed(own))
    thumbprint = base64url(hashlib.sha256(own.public_bytes(Encoding.DER)).digest())
    assert made.json()["confirmation"] == {"x5t#S256": thumbprint}, made.text
    token = {"Authorization": f"Bearer {made.json()['token']}"}
    assert (await proxied_api.get(RUNS, headers=token | passed(own))).status_code == 200
    escaped = {CERTIFICATE: quote(own.public_bytes(Encoding.PEM).decode())}
    assert (await proxied_api.get(RUNS, headers=token | escaped)).status_code == 200
    for client, headers in (
        (proxied_api, {}),
        (proxied_api, passed(other)),
        (proxied_api, {CERTIFICATE: "nonsense"}),
        (open_api, passed(own)),
    ):
        answer = await client.get(RUNS, headers=token | headers)
        assert_problem(answer, 401, "Unauthenticated", "certificate")
    twice = [*token.items(), *passed(own).items(), *passed(own).items()]
    assert_problem(await proxied_api.get(RUNS, headers=twice), 401, "Unauthenticated", "one header")
