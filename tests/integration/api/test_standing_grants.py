"""Standing grants by the API: proved before they are given, by who may, and taken back."""

from typing import Any

import httpx
import pytest
from api_callers import Callers, assert_problem

from capsules.constitutions.constitution import ConstitutionRecord

pytestmark = pytest.mark.usefixtures("constitution")

GRANTS = "/v1/standing-grants"
DESTRUCTIVE = "action.kind == 'tool.invoke' && action.effect == 'destructive' && action.data == 'public'"


def grant_request(**changes: Any) -> dict[str, Any]:
    given = {"scope": DESTRUCTIVE, "uses": 5, "expires_seconds": "7d", "reason": "The nightly clean-up."}
    return given | changes


async def give(http: httpx.AsyncClient, headers: dict[str, str], **changes: Any) -> dict[str, Any]:
    answer = await http.post(GRANTS, json=grant_request(**changes), headers=headers)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def test_a_scope_within_the_constitution_is_granted_and_listed_and_taken_back(
    http: httpx.AsyncClient, callers: Callers, constitution: ConstitutionRecord
) -> None:
    made = await give(http, callers.all("grace"))
    assert (made["state"], made["uses_left"], made["granted_by"]) == ("open", 5, "grace")
    assert made["constitution"] == constitution.digest
    shown = await http.get(f"{GRANTS}/{made['id']}", headers=callers.with_("approval:read"))
    assert shown.json() == made
    revoked = await http.delete(f"{GRANTS}/{made['id']}", headers=callers.all("hedy"))
    assert (revoked.json()["state"], revoked.json()["revoked_by"]) == ("revoked", "hedy")
    listed = (await http.get(GRANTS, params={"state": "open"}, headers=callers.all())).json()
    assert listed["items"] == []
    again = await http.post(f"{GRANTS}/{made['id']}/prove", headers=callers.all("grace"))
    assert_problem(again, 409, "Conflict", "is revoked")


@pytest.mark.parametrize("scope", ["true", "action.data == 'secret' && action.egress == 'open'"])
async def test_a_scope_that_leaves_the_constitution_is_refused_with_an_action_that_shows_it(
    http: httpx.AsyncClient, callers: Callers, scope: str
) -> None:
    refused = await http.post(GRANTS, json=grant_request(scope=scope), headers=callers.all())
    problem = assert_problem(refused, 422, "Invalid", "refuted")
    [witness] = problem["fields"]["witnesses"]
    assert witness["verdict"]["decision"] in {"deny", "ask"}
    assert witness["action"]["kind"]
    assert (await http.get(GRANTS, headers=callers.all())).json()["items"] == []


@pytest.mark.parametrize(
    "scope", ["action.nothing == 1", "action.kind ==", "run.autonomy == 'manual'", "action.tokens", "action.kind == 3"]
)
async def test_a_scope_that_is_no_condition_on_actions_is_refused(
    http: httpx.AsyncClient, callers: Callers, scope: str
) -> None:
    assert_problem(await http.post(GRANTS, json=grant_request(scope=scope), headers=callers.all()), 422, "Invalid")


@pytest.mark.parametrize(
    "changes",
    [{"uses": 0}, {"uses": 1001}, {"expires_seconds": "91d"}, {"expires_seconds": 0}, {"reason": ""}, {"scope": ""}],
)
async def test_bounds_are_kept(http: httpx.AsyncClient, callers: Callers, changes: dict[str, Any]) -> None:
    answer = await http.post(GRANTS, json=grant_request(**changes), headers=callers.all())
    assert_problem(answer, 422, "Invalid", next(iter(changes)))


async def test_nobody_grants_what_they_may_not_approve(http: httpx.AsyncClient, callers: Callers) -> None:
    standing = callers.with_("approval:standing")
    assert_problem(await http.post(GRANTS, json=grant_request(), headers=standing), 403, "Denied", "approval:decide")
    deciding = callers.without("approval:standing")
    assert_problem(await http.post(GRANTS, json=grant_request(), headers=deciding), 403, "Denied", "approval:standing")


async def test_only_the_granter_proves_a_grant_again(http: httpx.AsyncClient, callers: Callers) -> None:
    made = await give(http, callers.all("grace"))
    stranger = await http.post(f"{GRANTS}/{made['id']}/prove", headers=callers.all("hedy"))
    assert_problem(stranger, 403, "Denied", "grace")
    assert (await http.post(f"{GRANTS}/{made['id']}/prove", headers=callers.all("grace"))).json() == made


async def test_another_tenants_grant_does_not_exist(
    http: httpx.AsyncClient, callers: Callers, strangers: Callers
) -> None:
    made = await give(http, callers.all())
    for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/prove")):
        answer = await http.request(method, f"{GRANTS}/{made['id']}{path}", headers=strangers.all())
        assert_problem(answer, 404, "NotFound", made["id"])
