"""Principals, keys, tokens and tenants can be taken back: each within a second, also from who is let in already."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from api_callers import Callers, assert_problem, publish

from api.deps import State
from somagent.db.database import Database
from somagent.identity.api_keys import parse_key

SECOND = 1.0
"""How long a change may take until it counts."""
VICTIM = "vera"


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def change(http: httpx.AsyncClient, callers: Callers, method: str, path: str, body: Any = None) -> Any:
    """Let ana change something, and wait for as long as it may take."""
    answer = await http.request(method, path, json=body, headers=callers.all())
    assert answer.is_success, answer.text
    await asyncio.sleep(SECOND)
    return answer.json() if answer.content else None


async def actions(http: httpx.AsyncClient, callers: Callers, subject: str) -> list[tuple[str, str]]:
    """Return who did what to a subject, from the audit, oldest first."""
    answer = await http.get("/v1/audit/entries", params={"subject": subject, "limit": 500}, headers=callers.all())
    return [(one["actor"], one["action"]) for one in answer.json()["items"]][::-1]


async def test_a_suspended_principals_token_is_refused_within_a_second(
    http: httpx.AsyncClient, callers: Callers
) -> None:
    stolen = callers.all(VICTIM)
    assert (await http.get("/v1/runs", headers=stolen)).status_code == 200
    await change(http, callers, "POST", f"/v1/principals/{VICTIM}/suspend")
    assert_problem(await http.get("/v1/runs", headers=stolen), 401, "Unauthenticated", VICTIM, "suspended")
    minting = await http.post("/v1/tokens", json={}, headers=stolen)
    assert_problem(minting, 401, "Unauthenticated", "suspended")
    shown = (await http.get(f"/v1/principals/{VICTIM}", headers=callers.all())).json()
    assert (shown["state"], shown["subject"]) == ("suspended", VICTIM)
    await change(http, callers, "POST", f"/v1/principals/{VICTIM}/resume")
    assert (await http.get("/v1/runs", headers=stolen)).status_code == 200
    done = [one for one in await actions(http, callers, VICTIM) if one[0] == "ana"]
    assert done == [("ana", "principal.suspended"), ("ana", "principal.resumed")]


async def test_a_capability_that_is_taken_away_is_gone_from_tokens_that_live(
    http: httpx.AsyncClient, callers: Callers
) -> None:
    token = callers.with_("run:read", "capsule:read", subject=VICTIM)
    assert (await http.get("/v1/capsules", headers=token)).status_code == 200
    held = {"capabilities": ["run:read", "schedule:manage"]}
    await change(http, callers, "PUT", f"/v1/principals/{VICTIM}", held)
    answer = await http.get("/v1/capsules", headers=token)
    assert_problem(answer, 403, "Denied", "capsule:read")
    assert answer.headers["www-authenticate"] == 'Bearer error="insufficient_scope", scope="capsule:read"'
    assert (await http.get("/v1/runs", headers=token)).status_code == 200
    # A token that is limited does not get more by what its principal gets.
    assert_problem(await http.get("/v1/schedules", headers=token), 403, "Denied", "schedule:manage")


async def test_an_unlimited_token_follows_its_principal(http: httpx.AsyncClient, callers: Callers) -> None:
    made = await http.post(
        "/v1/principals", json={"subject": VICTIM, "capabilities": ["run:read"]}, headers=callers.all()
    )
    token = (await http.post("/v1/tokens", json={}, headers=bearer(made.json()["key"]))).json()["token"]
    assert_problem(await http.get("/v1/schedules", headers=bearer(token)), 403, "Denied")
    await change(http, callers, "PUT", f"/v1/principals/{VICTIM}", {"capabilities": ["schedule:manage"]})
    assert (await http.get("/v1/schedules", headers=bearer(token))).status_code == 200
    assert_problem(await http.get("/v1/runs", headers=bearer(token)), 403, "Denied")


async def test_a_revoked_principal_never_comes_back(http: httpx.AsyncClient, callers: Callers) -> None:
    made = await http.post(
        "/v1/principals", json={"subject": VICTIM, "capabilities": ["run:read"]}, headers=callers.all()
    )
    key = bearer(made.json()["key"])
    token = bearer((await http.post("/v1/tokens", json={"refresh": True}, headers=key)).json()["token"])
    await change(http, callers, "POST", f"/v1/principals/{VICTIM}/revoke")
    for credential in (key, token):
        assert_problem(await http.get("/v1/runs", headers=credential), 401, "Unauthenticated")
    resumed = await http.post(f"/v1/principals/{VICTIM}/resume", headers=callers.all())
    assert_problem(resumed, 409, "Conflict", VICTIM)
    for path, body in (
        ("/v1/keys", {"subject": VICTIM}),
        (f"/v1/principals/{VICTIM}/rotate", None),
        ("/v1/principals", {"subject": VICTIM, "capabilities": ["run:read"]}),
    ):
        assert_problem(await http.post(path, json=body, headers=callers.all()), 409, "Conflict", VICTIM)
    ended = {one["state"] for one in (await http.get("/v1/keys", headers=callers.all())).json()["items"]}
    families = (await http.get("/v1/tokens", params={"of": VICTIM}, headers=callers.all())).json()["items"]
    assert (ended, [one["state"] for one in families]) == ({"revoked"}, ["revoked"])


async def test_nobody_locks_themselves_out_or_gives_what_they_lack(http: httpx.AsyncClient, callers: Callers) -> None:
    callers.all(VICTIM)
    weak = callers.with_("principal:manage", "run:read", subject="willi")
    for verb in ("suspend", "revoke"):
        answer = await http.post(f"/v1/principals/willi/{verb}", headers=weak)
        assert_problem(answer, 409, "Conflict", "lock yourself out")
    for method, path, body in (
        ("PUT", "/v1/principals/willi", {"capabilities": ["principal:manage", "budget:raise"]}),
        ("POST", "/v1/keys", {"subject": VICTIM}),
        ("POST", f"/v1/principals/{VICTIM}/rotate", None),
    ):
        assert_problem(await http.request(method, path, json=body, headers=weak), 403, "Denied", "does not hold")
    limited = await http.post("/v1/keys", json={"subject": VICTIM, "capabilities": ["run:read"]}, headers=weak)
    assert limited.status_code == 201, "a key for what both have"
    assert_problem(await http.get("/v1/capsules", headers=bearer(limited.json()["key"])), 403, "Denied")


async def test_a_key_ends_with_all_that_came_from_it(http: httpx.AsyncClient, callers: Callers) -> None:
    callers.all(VICTIM)
    made = (await http.post("/v1/keys", json={"subject": VICTIM, "days": 1}, headers=callers.all())).json()
    key = bearer(made["key"])
    plain = (await http.post("/v1/tokens", json={}, headers=key)).json()
    first = (await http.post("/v1/tokens", json={"refresh": True}, headers=key)).json()
    second = (await http.post("/v1/tokens", json={"refresh": True}, headers=bearer(first["token"]))).json()
    assert first["refresh_expires_at"] <= first["expires_at"] + 86_400
    ended = await change(http, callers, "DELETE", f"/v1/keys/{made['record']['id']}")
    assert (ended["state"], ended["revoked_by"], ended["subject"]) == ("revoked", "ana", VICTIM)
    for token in (made["key"], plain["token"], first["token"], second["token"]):
        assert_problem(await http.get("/v1/runs", headers=bearer(token)), 401, "Unauthenticated")
    renewed = await http.post("/v1/tokens/refresh", json={"refresh_token": second["refresh_token"]})
    assert_problem(renewed, 401, "Unauthenticated")


async def test_a_key_is_rotated_with_an_overlap(http: httpx.AsyncClient, callers: Callers) -> None:
    callers.all(VICTIM)
    limited = {"subject": VICTIM, "capabilities": ["run:read"]}
    old = (await http.post("/v1/keys", json=limited, headers=callers.all())).json()
    path = f"/v1/keys/{old['record']['id']}/rotate"
    new = (await http.post(path, json={"overlap_seconds": 2}, headers=callers.all())).json()
    assert new["record"]["capabilities"] == ["run:read"]
    for key in (old["key"], new["key"]):
        assert (await http.get("/v1/runs", headers=bearer(key))).status_code == 200
        assert_problem(await http.get("/v1/capsules", headers=bearer(key)), 403, "Denied")
    await asyncio.sleep(2 + SECOND)
    assert_problem(await http.get("/v1/runs", headers=bearer(old["key"])), 401, "Unauthenticated", "ended")
    assert (await http.get("/v1/runs", headers=bearer(new["key"]))).status_code == 200
    again = await http.post(path, headers=callers.all())
    assert_problem(again, 409, "Conflict", "ended")


async def test_a_rotated_principal_keeps_only_its_new_key(http: httpx.AsyncClient, callers: Callers) -> None:
    token = callers.all(VICTIM)
    old = (await http.post("/v1/keys", json={"subject": VICTIM}, headers=callers.all())).json()["key"]
    new = await change(http, callers, "POST", f"/v1/principals/{VICTIM}/rotate")
    for credential in (token, bearer(old)):
        assert_problem(await http.get("/v1/runs", headers=credential), 401, "Unauthenticated")
    assert (await http.get("/v1/runs", headers=bearer(new["key"]))).status_code == 200
    assert parse_key(new["key"]).id == new["key_id"]


async def test_what_is_listed_has_no_secret(http: httpx.AsyncClient, callers: Callers) -> None:
    token = callers.all()["Authorization"].split()[1]
    made = (await http.post("/v1/keys", json={"subject": "ana"}, headers=callers.all())).json()["key"]
    opened = (await http.post("/v1/tokens", json={"refresh": True, "client": "phone"}, headers=callers.all())).json()
    for path in ("/v1/keys", "/v1/tokens", "/v1/principals", "/v1/audit/entries"):
        text = (await http.get(path, headers=callers.all())).text
        for secret in (made, parse_key(made).hash, opened["refresh_token"], opened["token"], token):
            assert secret not in text, path
    families = (await http.get("/v1/tokens", headers=callers.all())).json()["items"]
    assert (families[0]["client"], families[0]["id"]) == ("phone", opened["family"])


@pytest.fixture
async def platform_operator(api_owner: Database, callers: Callers, state: State) -> Callers:
    await api_owner.tenants.add(state.settings.platform_tenant)
    return callers.of(state.settings.platform_tenant)


async def test_nobody_of_a_suspended_tenant_is_let_in(
    http: httpx.AsyncClient, callers: Callers, platform_operator: Callers
) -> None:
    people = [callers.all(), callers.all("bob")]
    own = f"/v1/tenants/{callers.tenant}"
    assert_problem(await http.post(f"{own}/suspend", headers=callers.all()), 403, "Denied", "are managed by")
    await change(http, platform_operator, "POST", f"{own}/suspend")
    for person in people:
        assert_problem(await http.get("/v1/runs", headers=person), 401, "Unauthenticated", callers.tenant, "suspended")
    listed = (await http.get("/v1/tenants", headers=platform_operator.all())).json()["items"]
    assert {"suspended"} == {one["state"] for one in listed if one["id"] == callers.tenant}
    await change(http, platform_operator, "POST", f"{own}/resume")
    assert (await http.get("/v1/runs", headers=people[1])).status_code == 200
    by = f"{platform_operator.tenant}/ana"
    assert await actions(http, callers, callers.tenant) == [(by, "tenant.suspended"), (by, "tenant.resumed")]
    rotated = await change(http, platform_operator, "POST", f"{own}/rotate")
    assert rotated["ended"] >= 2
    assert_problem(await http.get("/v1/runs", headers=people[1]), 401, "Unauthenticated", "tenant rotated")
    locked = await http.post(f"/v1/tenants/{platform_operator.tenant}/suspend", headers=platform_operator.all())
    assert_problem(locked, 409, "Conflict", "lock everybody out")
    await change(http, platform_operator, "POST", f"{own}/revoke")
    assert_problem(await http.post(f"{own}/resume", headers=platform_operator.all()), 409, "Conflict")


async def test_an_open_stream_ends_when_its_reader_is_suspended(http: httpx.AsyncClient, callers: Callers) -> None:
    await publish(http, callers)
    started = await http.post(
        "/v1/capsules/hello/runs", json={"inputs": {"text": "a b"}}, headers=callers.all() | {"Idempotency-Key": "s"}
    )
    path = f"{started.headers['location']}/events"
    reader = callers.all(VICTIM)
    async with contextlib.aclosing(lines(http, path, reader)) as stream:
        assert "following" in await anext(stream)
        await http.post(f"/v1/principals/{VICTIM}/suspend", headers=callers.all())
        async with asyncio.timeout(4 * SECOND):
            rest = [line async for line in stream]
    assert all(not line.startswith("event: run.closed") for line in rest), "the run goes on, for others"
    assert_problem(await http.get(path, headers=reader), 401, "Unauthenticated", "suspended")


async def lines(http: httpx.AsyncClient, path: str, headers: dict[str, str]) -> AsyncIterator[str]:
    async with http.stream("GET", path, headers=headers) as answer:
        assert answer.status_code == 200
        async for line in answer.aiter_lines():
            yield line


async def test_whoever_writes_the_database_gains_nothing(
    http: httpx.AsyncClient, callers: Callers, state: State, tenant: str
) -> None:
    """The application's role by SQL: no table can be written, and what its functions write without a proof is refused."""
    from somagent.identity.api_keys import new_key  # noqa: PLC0415

    callers.with_("run:read", subject=VICTIM)
    own = new_key(tenant)
    everything = "ARRAY['run:read','principal:manage','approval:decide']"
    async with state.db.pool.acquire() as connection:
        for statement in (
            f"UPDATE principals SET capabilities = {everything}",
            "UPDATE token_families SET revoked_at = NULL",
            f"INSERT INTO api_keys (tenant_id, id, hash, subject) VALUES ('{tenant}', 'x', '{own.hash}', '{VICTIM}')",
            "UPDATE tenants SET state = 'active'",
            "DELETE FROM principals",
        ):
            async with connection.transaction():
                await connection.execute("SELECT set_config('somagent.tenant', $1, true)", tenant)
                with pytest.raises(Exception, match="permission denied"):
                    async with connection.transaction():
                        await connection.execute(statement)
        async with connection.transaction():
            await connection.execute("SELECT set_config('somagent.tenant', $1, true)", tenant)
            await connection.execute("SELECT key_add($1, $2, $3, NULL, NULL, NULL, '')", own.id, own.hash, VICTIM)
    assert_problem(await http.get("/v1/runs", headers=bearer(own.text)), 401, "Unauthenticated", "no valid proof")

    token = callers.with_("run:read", "principal:manage", subject=VICTIM)
    async with state.db.transaction(tenant) as tx:
        known = await tx.principals.get(VICTIM)
        row = await tx.connection.exec_driver_sql("SELECT proof FROM principals WHERE subject = 'vera'")
        proof = row.scalar_one()
    await change(http, callers, "POST", f"/v1/principals/{VICTIM}/suspend")
    async with state.db.pool.acquire() as connection:
        for version, signed, why in ((known.version, proof, "changed meanwhile"), (known.version + 2, proof, None)):
            async with connection.transaction():
                await connection.execute("SELECT set_config('somagent.tenant', $1, true)", tenant)
                call = connection.execute(
                    "SELECT principal_put($1, $2, 'active', $3, $4, 'x')",
                    VICTIM,
                    sorted(known.capabilities),
                    version,
                    signed,
                )
                if why is None:
                    await call
                    continue
                with pytest.raises(Exception, match=why):
                    async with connection.transaction():
                        await call
    await asyncio.sleep(SECOND)
    answer = await http.get("/v1/runs", headers=token)
    assert_problem(answer, 401, "Unauthenticated", "no valid proof")
    assert json.loads(answer.text)["detail"].startswith("The record of the principal 'vera'")
