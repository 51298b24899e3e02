"""Projects by the API: opened, shown, changed, closed; who may; what is refused."""

import httpx
from api_callers import Callers, assert_problem

from api.deps import State
from capsules.budgets.amounts import Amounts

TERMS = {"allowance": {"tokens": 500, "tool_calls": 5}, "period": "month", "rate": {"calls": 30}}


async def test_a_project_takes_its_part_of_the_tenants_budget(
    http: httpx.AsyncClient, callers: Callers, state: State, tenant: str
) -> None:
    before = (await http.get("/v1/budgets/tenant", headers=callers.all())).json()["left"]["tokens"]
    made = await http.put("/v1/projects/website", json=TERMS, headers=callers.all(subject="rosa"))
    assert made.status_code == 200, made.text
    assert (made.json()["left"] if "left" in made.json() else made.json()["limit"])["tokens"] == 500
    assert made.json()["terms"]["rate"] == {"tokens": None, "calls": 30}
    assert (await http.get("/v1/budgets/tenant", headers=callers.all())).json()["left"]["tokens"] == before - 500
    shown = (await http.get("/v1/projects/website", headers=callers.all())).json()
    assert {entry["kind"]: entry["by"] for entry in shown["entries"]}["allow"] == "rosa"
    listed = (await http.get("/v1/projects", headers=callers.all())).json()["items"]
    assert [one["project"] for one in listed] == ["website"]
    assert (await http.get("/v1/budgets/check", headers=callers.all())).json() == {"holds": True, "breaches": []}

    async with state.db.transaction(tenant) as tx:
        await tx.accounts.carve("project:website", f"run:{tenant}/x/1", Amounts(tokens=1))
    busy = await http.delete("/v1/projects/website", headers=callers.all())
    assert_problem(busy, 409, "Conflict", "1 runs under way")
    async with state.db.transaction(tenant) as tx:
        await tx.accounts.close(f"run:{tenant}/x/1")
    assert (await http.delete("/v1/projects/website", headers=callers.all(subject="rosa"))).status_code == 204
    assert (await http.get("/v1/budgets/tenant", headers=callers.all())).json()["left"]["tokens"] == before
    again = await http.put("/v1/projects/website", json=TERMS, headers=callers.all())
    assert_problem(again, 409, "Conflict", "closed")
    entries = (await http.get("/v1/audit/entries", params={"limit": 50}, headers=callers.all())).json()["items"]
    said = {(one["action"], one["actor"]) for one in entries if one["subject"] == "project:website"}
    assert {("budget.allowed", "rosa"), ("budget.closed", "rosa")} <= said


async def test_wrong_terms_are_refused_with_the_field(http: httpx.AsyncClient, callers: Callers) -> None:
    for body, field in (
        ({"allowance": {"tokens": -1}}, "allowance.tokens"),
        ({"allowance": {"tokens": 1.5}}, "allowance.tokens"),
        ({"allowance": {"tokens": 2**53}}, "9007199254740992"),
        ({"allowance": {"eur": 5}}, "allowance.eur"),
        ({"allowance": {}, "period": "week"}, "period"),
        ({"allowance": {}, "rate": {}}, "rate"),
        ({"allowance": {}, "rate": {"calls": 0}}, "rate.calls"),
    ):
        answer = await http.put("/v1/projects/website", json=body, headers=callers.all())
        assert_problem(answer, 422, "Invalid", field)
    beyond = {"allowance": {"tokens": 2**52}}
    answer = await http.put("/v1/projects/website", json=beyond, headers=callers.all())
    assert_problem(answer, 402, "BudgetExhausted", "left")
    assert_problem(await http.get("/v1/projects/none", headers=callers.all()), 404, "NotFound", "project:none")


async def test_who_runs_cannot_give_projects_money(http: httpx.AsyncClient, callers: Callers) -> None:
    mere = callers.with_("budget:read")
    assert_problem(await http.put("/v1/projects/website", json=TERMS, headers=mere), 403, "Denied", "budget:raise")


async def test_a_start_names_a_project_that_is_open(http: httpx.AsyncClient, callers: Callers) -> None:
    body = {"inputs": {}, "project": "nowhere"}
    answer = await http.post("/v1/capsules/hello/runs", json=body, headers=callers.all())
    assert_problem(answer, 404, "NotFound", "project:nowhere")
