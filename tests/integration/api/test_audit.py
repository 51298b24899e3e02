"""Every change that the API makes is on the audit, with who made it; and the entries are what was sealed."""

import httpx
from api_callers import REGISTRY, Callers, assert_problem, publish
from fastapi.routing import APIRoute

from api.app import ROUTERS
from api.deps import State
from capsules.budgets.amounts import Amounts
from capsules.digest import digest

SCHEDULE = {"name": "nightly", "capsule": "hello@1", "cron": ["0 3 * * *"], "inputs": {"text": "a"}}

# What each changing route leaves. Receipts: its actions are judged, and every decision is a receipt of its own.
AUDITED = {
    "POST /v1/capsules": "capsule.published",
    "POST /v1/capsules/{ref}/runs": "receipts: capsule.start",
    "POST /v1/runs/{run}/pause": "run.pause",
    "POST /v1/runs/{run}/resume": "run.resume",
    "POST /v1/runs/{run}/cancel": "run.cancel",
    "POST /v1/runs/{run}/messages": "run.told",
    "POST /v1/approvals/decide": "approval.answered",
    "POST /v1/approvals/{approval}/approve": "approval.answered",
    "POST /v1/approvals/{approval}/deny": "approval.answered",
    "POST /v1/approvals/{approval}/edit": "approval.answered",
    "POST /v1/approvals/{approval}/attestation": "approval.answered, when it is used",
    "POST /v1/delegations": "delegation.given",
    "DELETE /v1/delegations/{delegation}": "delegation.revoked",
    "POST /v1/standing-grants": "grant.given",
    "POST /v1/standing-grants/{grant}/prove": "grant.proved",
    "DELETE /v1/standing-grants/{grant}": "grant.revoked",
    "POST /v1/schedules": "schedule.created",
    "POST /v1/schedules/{name}/pause": "schedule.paused",
    "POST /v1/schedules/{name}/unpause": "schedule.unpaused",
    "POST /v1/schedules/{name}/trigger": "schedule.triggered",
    "DELETE /v1/schedules/{name}": "schedule.deleted",
    "POST /v1/budgets/runs/{run}/raise": "budget.raised",
    "PUT /v1/projects/{project}": "budget.allowed",
    "DELETE /v1/projects/{project}": "budget.closed",
    "PUT /v1/retention": "retention.set",
    "POST /v1/retention/holds": "hold.placed",
    "DELETE /v1/retention/holds/{hold}": "hold.lifted",
    "POST /v1/constitutions": "constitution.proposed",
    "DELETE /v1/constitutions/shadow": "constitution.activated",
    "POST /v1/constitutions/activations/{activation}/approve": "constitution.approved",
    "POST /v1/constitutions/activations/{activation}/reject": "constitution.rejected",
    "POST /v1/constitutions/rollback": "constitution.proposed",
    "POST /v1/constitutions/promote": "constitution.proposed",
    "POST /v1/constitutions/{digest}/revoke": "constitution.changed",
    "POST /v1/tokens": "token.minted",
    "DELETE /v1/tokens/self": "token.revoked",
    "DELETE /v1/tokens/{family}": "token.revoked",
    "POST /v1/keys": "key.added",
    "POST /v1/keys/{key}/rotate": "key.added, key.ends or key.revoked",
    "DELETE /v1/keys/{key}": "key.revoked",
    "POST /v1/principals": "principal.set",
    "PUT /v1/principals/{subject}": "principal.set",
    "POST /v1/principals/{subject}/suspend": "principal.suspended",
    "POST /v1/principals/{subject}/resume": "principal.resumed",
    "POST /v1/principals/{subject}/revoke": "principal.revoked",
    "POST /v1/principals/{subject}/rotate": "key.added, key.revoked, token.revoked",
    "POST /v1/tenants/{tenant}/suspend": "tenant.suspended",
    "POST /v1/tenants/{tenant}/resume": "tenant.resumed",
    "POST /v1/tenants/{tenant}/revoke": "tenant.revoked",
    "POST /v1/tenants/{tenant}/rotate": "tenant.rotated",
}
CHANGES_NOTHING = {
    "POST /v1/tokens/refresh",  # the same family goes on; its opening and its end are audited
    "POST /v1/capsules/validate",
    "POST /v1/codec/encode",
    "POST /v1/codec/decode",
    "POST /v1/codec/ui/{secret}/encode",
    "POST /v1/codec/ui/{secret}/decode",
    "POST /v1/audit/runs/{run}/results",
    "POST /v1/notifications/test",
    "POST /v1/forecasts",
    "POST /v1/policy/dry-run",
    "POST /v1/policy/explain",
    "POST /v1/policy/backtest",
    "POST /v1/policy/check",
    "POST /v1/policy/prove",
    "POST /v1/policy/diff",
}


def test_every_changing_route_says_what_it_leaves_on_the_audit() -> None:
    changing = {
        f"{method} {route.path}"
        for router in ROUTERS
        for route in router.routes
        if isinstance(route, APIRoute)
        for method in route.methods - {"GET", "HEAD", "OPTIONS"}
    }
    assert changing == AUDITED.keys() | CHANGES_NOTHING


async def entries(http: httpx.AsyncClient, callers: Callers, **filters: str) -> list[dict[str, object]]:
    answer = await http.get("/v1/audit/entries", params={"limit": 500, **filters}, headers=callers.all())
    assert answer.status_code == 200, answer.text
    items: list[dict[str, object]] = answer.json()["items"]
    return items[::-1]


async def test_what_the_api_changes_is_audited_with_who_did_it(http: httpx.AsyncClient, callers: Callers) -> None:
    await publish(http, callers)
    headers = callers.all(subject="olga")
    assert (await http.post("/v1/schedules", json=SCHEDULE, headers=headers)).status_code == 201
    for verb in ("pause", "unpause", "trigger"):
        assert (await http.post(f"/v1/schedules/nightly/{verb}", headers=headers)).status_code in {200, 202}
    assert (await http.delete("/v1/schedules/nightly", headers=headers)).status_code == 204
    assert (await http.post("/v1/tokens", json={"capabilities": ["run:read"]}, headers=headers)).status_code == 201
    person = {"subject": "petra", "capabilities": ["approval:decide", "approval:read"]}
    assert (await http.post("/v1/principals", json=person, headers=headers)).status_code == 201
    found = await entries(http, callers)
    # Without the tenant's own account, and the callers of this test.
    found = [one for one in found if one["action"] != "budget.opened" and one["actor"] != REGISTRY]
    assert [(one["actor"], one["action"], one["subject"]) for one in found] == [
        ("ana", "capsule.published", "hello"),
        *(
            ("olga", f"schedule.{what}", "nightly")
            for what in ("created", "paused", "unpaused", "triggered", "deleted")
        ),
        ("olga", "token.minted", "olga"),
        ("olga", "principal.set", "petra"),
        ("olga", "key.added", "petra"),
    ]
    for one in found:
        assert one["hash"] == digest(one["body"]), "the database writes the same canonical JSON"
        assert {name: one["body"][name] for name in ("actor", "action", "subject")} == {  # type: ignore[index]
            name: one[name] for name in ("actor", "action", "subject")
        }
    (minted,) = await entries(http, callers, action="token.minted")
    assert minted["body"]["details"]["capabilities"] == ["run:read"]  # type: ignore[index]
    assert len(await entries(http, callers, subject="petra")) == 2
    assert "somagent_" not in str(found), "no key and no token is on the audit"


async def test_a_change_that_fails_says_so(http: httpx.AsyncClient, callers: Callers) -> None:
    answer = await http.post("/v1/schedules/none/pause", headers=callers.all())
    assert answer.status_code == 404
    found = [one["action"] for one in await entries(http, callers, subject="none")]
    assert found == ["schedule.paused", "schedule.paused.failed"]


async def test_a_budget_that_is_opened_and_raised_is_audited(
    http: httpx.AsyncClient, callers: Callers, state: State, tenant: str
) -> None:
    async with state.db.transaction(tenant) as tx:
        await tx.accounts.ensure("run:x", Amounts(tokens=5))
        await tx.accounts.raise_limit("run:x", Amounts(tokens=7), key="k", by="rosa")
    opened, raised = await entries(http, callers, subject="run:x")
    assert (opened["action"], raised["action"], raised["actor"]) == ("budget.opened", "budget.raised", "rosa")
    assert raised["body"]["details"]["limit_tokens"] == "7"  # type: ignore[index]


async def test_records_wait_for_the_sealer_and_are_no_strays(http: httpx.AsyncClient, callers: Callers) -> None:
    before = (await http.get("/v1/audit/status", headers=callers.all())).json()["waiting"]
    await publish(http, callers)
    status = (await http.get("/v1/audit/status", headers=callers.all())).json()
    assert (status["height"], status["waiting"], status["strays"]) == (0, before + 1, [])
    assert (await http.get("/v1/audit/blocks", headers=callers.all())).json() == {"items": [], "next": None}
    assert (await http.get("/v1/audit/records", headers=callers.all())).json() == {"items": [], "next": None}
    answer = await http.get("/v1/audit/runs/nobody~hello~k1/inclusions", headers=callers.all())
    assert_problem(answer, 404, "NotFound")
