"""Refresh tokens: each counts once, and one that is used twice ends its family, for the thief and for the owner."""

import asyncio
import time

import httpx
from api_callers import Callers, assert_problem
from dpop_keys import decoded

from api.deps import State
from somagent.identity.tokens import RefreshClaims

REFRESH = "/v1/tokens/refresh"


def bearer(answer: dict[str, str]) -> dict[str, str]:
    return {"Authorization": f"Bearer {answer['token']}"}


async def open_family(http: httpx.AsyncClient, headers: dict[str, str], **body: object) -> dict[str, str]:
    answer = await http.post("/v1/tokens", json={"refresh": True, **body}, headers=headers)
    assert answer.status_code == 201, answer.text
    opened: dict[str, str] = answer.json()
    return opened


async def renew(http: httpx.AsyncClient, opened: dict[str, str]) -> httpx.Response:
    return await http.post(REFRESH, json={"refresh_token": opened["refresh_token"]})


async def test_a_refresh_token_renews_and_is_then_used_up(http: httpx.AsyncClient, callers: Callers) -> None:
    first = await open_family(http, callers.all(), capabilities=["run:read"], client="laptop")
    assert decoded(first["token"])["exp"] - decoded(first["token"])["iat"] <= 900
    second = (await renew(http, first)).json()
    assert (second["family"], second["principal"]["capabilities"]) == (first["family"], ["run:read"])
    assert (await http.get("/v1/runs", headers=bearer(second))).status_code == 200
    assert_problem(await http.get("/v1/capsules", headers=bearer(second)), 403, "Denied")
    third = (await renew(http, second)).json()
    listed = (await http.get("/v1/tokens", params={"of": "ana"}, headers=callers.all())).json()["items"]
    (shown,) = [one for one in listed if one["id"] == third["family"]]
    assert (shown["generation"], shown["client"], shown["state"]) == (3, "laptop", "active")


async def test_a_refresh_token_that_is_used_twice_ends_its_family(http: httpx.AsyncClient, callers: Callers) -> None:
    stolen = await open_family(http, callers.all(), client="laptop")
    owners = (await renew(http, stolen)).json()
    below = await open_family(http, bearer(owners), client="tablet")
    assert_problem(await renew(http, stolen), 401, "Unauthenticated", "used before", "stolen")
    await asyncio.sleep(1)
    for token in (stolen, owners, below):
        assert_problem(await http.get("/v1/runs", headers=bearer(token)), 401, "Unauthenticated", "used twice")
        assert_problem(await renew(http, token), 401, "Unauthenticated")
    entries = (await http.get("/v1/audit/entries", params={"action": "token.revoked"}, headers=callers.all())).json()
    reasons = {one["body"]["details"]["reason"] for one in entries["items"]}
    assert reasons == {"a refresh token was used twice"}


async def test_of_two_who_use_it_at_once_one_wins_and_the_family_ends(
    http: httpx.AsyncClient, callers: Callers
) -> None:
    opened = await open_family(http, callers.all())
    answers = await asyncio.gather(*(renew(http, opened) for _ in range(5)))
    assert sorted(answer.status_code for answer in answers) == [200, 401, 401, 401, 401]
    (winner,) = [answer.json() for answer in answers if answer.status_code == 200]
    assert_problem(await renew(http, winner), 401, "Unauthenticated")


async def test_a_family_is_revoked_and_left(http: httpx.AsyncClient, callers: Callers) -> None:
    one, two = [await open_family(http, callers.all()) for _ in range(2)]
    revoked = await http.delete(f"/v1/tokens/{one['family']}", headers=callers.all())
    assert (revoked.json()["state"], revoked.json()["revoked_by"]) == ("revoked", "ana")
    assert (await http.delete("/v1/tokens/self", headers=bearer(two))).status_code == 204
    await asyncio.sleep(1)
    for token in (one, two):
        assert_problem(await http.get("/v1/runs", headers=bearer(token)), 401, "Unauthenticated")
        assert_problem(await renew(http, token), 401, "Unauthenticated")
    assert_problem(await http.delete("/v1/tokens/none", headers=callers.all()), 404, "NotFound")


async def test_a_suspended_principal_renews_nothing_and_loses_nothing(
    http: httpx.AsyncClient, callers: Callers
) -> None:
    opened = await open_family(http, callers.all("vera"))
    await http.post("/v1/principals/vera/suspend", headers=callers.all())
    await asyncio.sleep(1)
    assert_problem(await renew(http, opened), 401, "Unauthenticated", "suspended")
    await http.post("/v1/principals/vera/resume", headers=callers.all())
    await asyncio.sleep(1)
    assert (await renew(http, opened)).status_code == 200


async def test_what_is_no_refresh_token_renews_nothing(
    http: httpx.AsyncClient, callers: Callers, state: State, tenant: str
) -> None:
    opened = await open_family(http, callers.all())
    claims = RefreshClaims(tenant=tenant, subject="ana", family=opened["family"], generation=1)
    late = int(time.time()) + 600
    for token, why in (
        (opened["token"], "another use"),
        ("nonsense", "cannot be read"),
        (state.tokens.mint_refresh(claims, int(time.time()) - 60), "expired"),
        (state.tokens.mint_refresh(claims.model_copy(update={"family": "f"}), late), "not known"),
        (state.tokens.mint_refresh(claims.model_copy(update={"subject": "bob"}), late), "not known"),
    ):
        assert_problem(await http.post(REFRESH, json={"refresh_token": token}), 401, "Unauthenticated", why)
    assert (await renew(http, opened)).status_code == 200, "none of these ended the family"
