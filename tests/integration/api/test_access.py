"""Who may do what: tokens, capabilities on every route, and one tenant apart from the next."""

import asyncio
import base64
import json
import time
from pathlib import Path

import httpx
import pytest
from api_callers import Callers, assert_problem, publish
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from api.access import RequireCapability
from api.app import ROUTERS
from api.deps import State
from somagent.identity.api_keys import new_key
from somagent.identity.capabilities import CAPABILITIES
from somagent.identity.keys import KeyRing
from somagent.identity.tokens import AccessClaims, Tokens

# Each of these is open for a reason: schema, page and health hold no data, Temporal UI has a secret in its address,
# a refresh token is a credential itself.
HEALTH = {f"{prefix}/{name}" for prefix in ("", "/v1") for name in ("health", "ready", "metrics")}
UI = {f"/v1/codec/ui/{{secret}}/{name}" for name in ("encode", "decode", "{operation}")} | {"/v1/codec/{operation}"}
OPEN = HEALTH | UI | {"/v1/tokens/refresh", "/v1/schemas/capsule.json", "/docs"}
ANYBODY = {"POST /v1/tokens", "DELETE /v1/tokens/self", "GET /v1/principals/self"}
SAMPLE = {
    "ref": "hello@1",
    "run": "nobody~hello~k1",
    "approval": "a1",
    "delegation": "d1",
    "grant": "g1",
    "activation": "k1",
    "project": "website",
    "hold": "0123456789ab",
    "name": "s1",
    "digest": "sha256:" + "0" * 64,
    "operation": "decode",
    "subject": "nobody",
    "key": "0123456789ab",
    "family": "f1",
    "tenant": "api-nobody",
}


def required_capabilities(dependant: Dependant) -> list[str]:
    own = [dependant.call.capability] if isinstance(dependant.call, RequireCapability) else []
    return own + [capability for inner in dependant.dependencies for capability in required_capabilities(inner)]


ROUTES = [
    (method, route.path, required_capabilities(route.dependant))
    for router in ROUTERS
    for route in router.routes
    if isinstance(route, APIRoute)
    for method in sorted(route.methods)
]


def url(path: str) -> str:
    return path.format(**SAMPLE)


def test_every_route_asks_for_one_capability_or_is_open_for_a_reason() -> None:
    for method, path, needed in ROUTES:
        expected = 0 if path in OPEN or (f"{method} {path}" in ANYBODY) else 1
        assert len(needed) == expected, (method, path, needed)
    # What it takes to decide, each approval says itself.
    said = {"approval:decide"}
    assert {capability for _, _, needed in ROUTES for capability in needed} == set(CAPABILITIES) - said


@pytest.mark.parametrize(("method", "path", "needed"), ROUTES)
async def test_a_caller_without_the_capability_is_refused_and_told_which(
    http: httpx.AsyncClient, callers: Callers, method: str, path: str, needed: list[str]
) -> None:
    if path in OPEN:
        return
    assert_problem(await http.request(method, url(path)), 401, "Unauthenticated")
    for capability in needed:
        answer = await http.request(method, url(path), headers=callers.without(capability), json={})
        problem = assert_problem(answer, 403, "Denied", capability)
        assert problem["fields"] == {"capability": capability}


def forged(state: State, tenant: str, tmp_path: Path) -> str:
    stranger = Tokens(KeyRing.create_missing(tmp_path / "other"))
    return stranger.mint_access(AccessClaims(tenant=tenant, subject="ana", family="f"), 600)


async def test_bad_tokens_are_refused_with_the_reason(
    http: httpx.AsyncClient, state: State, tenant: str, callers: Callers, tmp_path: Path
) -> None:
    good = callers.with_("run:read")["Authorization"].removeprefix("Bearer ")
    ana = state.tokens.verify_access(good).claims
    head, body, signature = good.split(".")
    claims = json.loads(base64.urlsafe_b64decode(body + "=="))
    claims["body"]["tenant"] = "somebody-else"
    altered = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    for token, reason in (
        (state.tokens.mint_access(ana, 60, issued_at=int(time.time()) - 3600), "expired"),
        (forged(state, tenant, tmp_path), "not an issuer key here"),
        (f"{head}.{altered}.{signature}", "forged or altered"),
        (state.tokens.mint_access(ana.model_copy(update={"family": None}), 60), "no token family"),
        (state.tokens.mint_access(ana.model_copy(update={"family": "f"}), 60), "not known"),
        ("nonsense", "cannot be read"),
        ("sg_nonsense", "malformed"),
        (new_key(tenant).text, "not known"),
    ):
        answer = await http.get("/v1/runs", headers={"Authorization": f"Bearer {token}"})
        assert_problem(answer, 401, "Unauthenticated", reason)
        assert answer.headers["www-authenticate"].startswith('Bearer error="invalid_token", error_description="')
    for headers in ({}, {"Authorization": "Basic YTpi"}):
        answer = await http.get("/v1/runs", headers=headers)
        assert_problem(answer, 401, "Unauthenticated", "Send it as")
        assert answer.headers["www-authenticate"] == "Bearer", "no error code where no token was sent (RFC 6750)"
    assert (await http.get("/v1/runs", headers={"Authorization": f"Bearer {good}"})).status_code == 200


async def test_an_authority_is_not_an_access_token(http: httpx.AsyncClient, state: State, tenant: str) -> None:
    from capsules.identity.authority import Authority  # noqa: PLC0415

    authority = Authority(
        kind="run", tenant=tenant, actor="ana", run=f"{tenant}/a/b", account="x", expires_at=int(time.time()) + 60
    )
    token = state.tokens.mint_authority(authority)
    answer = await http.get("/v1/runs", headers={"Authorization": f"Bearer {token}"})
    assert_problem(answer, 401, "Unauthenticated", "another use")


async def test_an_api_key_opens_what_its_principal_may_and_a_revoked_one_nothing(
    http: httpx.AsyncClient, callers: Callers, state: State, tenant: str
) -> None:
    made = await http.post(
        "/v1/principals", json={"subject": "ci", "capabilities": ["run:read"]}, headers=callers.all()
    )
    assert made.status_code == 201
    key = {"Authorization": f"Bearer {made.json()['key']}"}
    assert (await http.get("/v1/runs", headers=key)).status_code == 200
    assert_problem(await http.get("/v1/capsules", headers=key), 403, "Denied", "capsule:read")
    other = {"Authorization": f"Bearer {made.json()['key'].replace(tenant, tenant + 'x')}"}
    assert_problem(await http.get("/v1/runs", headers=other), 401, "Unauthenticated")
    ended = await http.delete(f"/v1/keys/{made.json()['key_id']}", headers=callers.all())
    assert (ended.status_code, ended.json()["state"]) == (200, "revoked")
    await asyncio.sleep(1)
    assert_problem(await http.get("/v1/runs", headers=key), 401, "Unauthenticated", "not known")


async def test_nobody_gives_away_what_they_do_not_hold(http: httpx.AsyncClient, callers: Callers) -> None:
    operator = callers.without("approval:decide")
    for path, body in (
        ("/v1/tokens", {"capabilities": ["approval:decide"]}),
        ("/v1/principals", {"subject": "sock", "capabilities": ["approval:decide"]}),
    ):
        assert_problem(await http.post(path, json=body, headers=operator), 403, "Denied", "approval:decide")
    body = {"subject": "twice", "capabilities": ["run:read"]}
    assert (await http.post("/v1/principals", json=body, headers=operator)).status_code == 201
    assert_problem(await http.post("/v1/principals", json=body, headers=operator), 409, "Conflict", "twice")


async def test_a_minted_token_is_narrower_and_never_outlives_its_parent(
    http: httpx.AsyncClient, callers: Callers, state: State
) -> None:
    parent = callers.with_("run:read", "capsule:read", seconds=120)
    made = await http.post("/v1/tokens", json={"capabilities": ["run:read"], "seconds": 900}, headers=parent)
    assert made.status_code == 201
    assert made.json()["expires_at"] <= time.time() + 121
    child = {"Authorization": f"Bearer {made.json()['token']}"}
    assert (await http.get("/v1/principals/self", headers=child)).json()["capabilities"] == ["run:read"]
    assert_problem(await http.get("/v1/capsules", headers=child), 403, "Denied")


async def test_another_tenants_things_do_not_exist(
    http: httpx.AsyncClient, callers: Callers, strangers: Callers, tenant: str
) -> None:
    await publish(http, callers)
    started = await http.post(
        "/v1/capsules/hello/runs",
        json={"inputs": {"text": "a b"}},
        headers=callers.all() | {"Idempotency-Key": "mine"},
    )
    assert started.status_code == 202, started.text
    run = started.headers["location"]
    stranger = strangers.all()
    assert (await http.get(run, headers=callers.all())).status_code == 200
    for path in (run, f"{run}/state", f"{run}/receipts", f"{run}/artifacts", f"{run}/events"):
        assert_problem(await http.get(path, headers=stranger), 404, "NotFound", f"{tenant}/hello/mine")
    for verb in ("pause", "resume", "cancel"):
        assert_problem(await http.post(f"{run}/{verb}", headers=stranger), 404, "NotFound")
    budget = f"/v1/budgets/runs/{run.rpartition('/')[2]}"
    assert_problem(await http.get(budget, headers=stranger), 404, "NotFound")
    assert_problem(await http.post(f"{budget}/raise", json={"tokens": 1}, headers=stranger), 404, "NotFound")
    assert_problem(await http.get("/v1/capsules/hello", headers=stranger), 404, "NotFound")
    assert (await http.get("/v1/runs", headers=stranger)).json()["items"] == []
    assert (await http.get("/v1/capsules", headers=stranger)).json()["items"] == []
    started = await http.post("/v1/capsules/hello/runs", json={"inputs": {"text": "a"}}, headers=stranger)
    assert_problem(started, 404, "NotFound", "hello")


async def test_a_tenant_that_does_not_exist_can_write_nothing(http: httpx.AsyncClient, state: State) -> None:
    claims = AccessClaims(tenant="api-ghost", subject="ana", family="f")
    ghost = {"Authorization": f"Bearer {state.tokens.mint_access(claims, 600)}"}
    body = {"subject": "x", "capabilities": ["run:read"]}
    assert_problem(await http.post("/v1/principals", json=body, headers=ghost), 401, "Unauthenticated", "api-ghost")
    assert_problem(await http.get("/v1/budgets/tenant", headers=ghost), 401, "Unauthenticated", "api-ghost")
