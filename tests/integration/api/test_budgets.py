"""The tenant's account and usage reports by the API: JSON, CSV, what is refused. Of real rows; nothing is invented."""

import csv
import io

import httpx
from api_callers import Callers, assert_problem

from api.deps import State
from capsules.budgets.amounts import Amounts
from capsules.digest import digest
from capsules.runs.run import NewRun


async def test_a_report_is_json_or_csv(http: httpx.AsyncClient, callers: Callers, state: State, tenant: str) -> None:
    run = f"{tenant}/hello/1"
    async with state.db.transaction(tenant) as tx:
        new = NewRun(id=run, capsule="=hello@1.0.0", digest=digest({}), actor="ada", request=digest(run))
        await tx.runs.accept(new)
        await tx.accounts.carve(f"tenant:{tenant}", f"run:{run}", Amounts(tokens=5))
        await tx.runs.admit(run, digest=digest({}), parent=None, account=f"run:{run}", lock={"model": "m"})
    query = {"by": ["capsule", "model"]}
    found = (await http.get("/v1/usage", params=query, headers=callers.all())).json()
    assert [(one["capsule"], one["model"], one["runs"], one["day"]) for one in found["items"]] == [
        ("=hello", "m", 1, None)
    ]
    answer = await http.get("/v1/usage", params=query | {"format": "csv"}, headers=callers.all())
    assert answer.headers["content-type"].startswith("text/csv")
    assert f"usage-{tenant}-" in answer.headers["content-disposition"]
    (row,) = csv.DictReader(io.StringIO(answer.text))
    assert (row["tenant"], row["capsule"], row["runs"], row["tokens"]) == (tenant, "'=hello", "1", "0")


async def test_days_in_the_wrong_order_and_unknown_groups_are_refused(
    http: httpx.AsyncClient, callers: Callers
) -> None:
    wrong = {"since": "2026-02-01", "until": "2026-01-01"}
    assert_problem(await http.get("/v1/usage", params=wrong, headers=callers.all()), 422, "Invalid", "has no days")
    answer = await http.get("/v1/usage", params={"by": "colour"}, headers=callers.all())
    assert_problem(answer, 422, "Invalid", "query.by")


async def test_the_tenants_account_is_shown_with_its_entries(
    http: httpx.AsyncClient, callers: Callers, tenant: str
) -> None:
    shown = (await http.get("/v1/budgets/tenant", headers=callers.all())).json()
    assert shown["account"]["id"] == f"tenant:{tenant}"
    assert shown["left"] == shown["account"]["limit"]
    assert [entry["kind"] for entry in shown["entries"]] == ["open"]
