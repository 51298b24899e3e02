"""Steering runs and deciding approvals: what is refused before a worker is asked, and what happens when none answers."""

import httpx
import pytest
from api_callers import Callers, assert_problem, publish
from decisions import decide
from ledger_messages import begin_effect, key

from api.deps import State
from capsules.constitutions.constitution import ConstitutionRecord
from capsules.runs.run import CloseRun
from somagent.db.gate.ledger import PostgresLedger
from somagent.db.gate.run_projection import PostgresRuns


async def started(http: httpx.AsyncClient, callers: Callers, name: str = "steer") -> str:
    await publish(http, callers)
    headers = callers.all() | {"Idempotency-Key": name}
    answer = await http.post("/v1/capsules/hello/runs", json={"inputs": {"text": "a"}}, headers=headers)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def url(run: str, *rest: str) -> str:
    return "/".join(("/v1/runs", run.replace("/", "~"), *rest))


async def open_approval(state: State, tenant: str, run: str, constitution: ConstitutionRecord, *, by: str) -> str:
    """Let the gate ask for an approval, as `by`'s action; return its id."""
    question = begin_effect(key(tenant, run), decision="ask", actor=by, constitution=constitution.digest)
    begun = await PostgresLedger(state.db).begin(question)
    assert begun.approval is not None
    return begun.approval.id


async def test_an_id_that_no_run_can_have_is_told_in_words(http: httpx.AsyncClient, callers: Callers) -> None:
    for path in ("", "/receipts", "/explanation"):
        answer = await http.get(f"/v1/runs/nope{path}", headers=callers.all())
        assert_problem(answer, 404, "NotFound", "There is no run 'nope'. The id of a run is TENANT/CAPSULE/KEY")
        assert "pattern" not in answer.text


async def test_an_ended_run_takes_no_orders(
    http: httpx.AsyncClient, callers: Callers, state: State, tenant: str
) -> None:
    run = await started(http, callers)
    await PostgresRuns(state.db).close(CloseRun(run=run, tenant=tenant, status="cancelled"))
    for verb in ("pause", "resume", "cancel"):
        assert_problem(await http.post(url(run, verb), headers=callers.all()), 409, "Conflict", run, "cancelled")
    message = await http.post(url(run, "messages"), json={"text": "hi"}, headers=callers.all())
    assert_problem(message, 409, "Conflict", run)
    budget = f"/v1/budgets/runs/{run.replace('/', '~')}/raise"
    assert_problem(await http.post(budget, json={"tokens": 5}, headers=callers.all()), 409, "Conflict", run)


async def test_a_raise_of_nothing_or_below_nothing_is_refused(http: httpx.AsyncClient, callers: Callers) -> None:
    run = await started(http, callers)
    budget = f"/v1/budgets/runs/{run.replace('/', '~')}/raise"
    for body, named in (({}, "all amounts are 0"), ({"tokens": -1}, "body.tokens"), ({"gold": 1}, "body.gold")):
        assert_problem(await http.post(budget, json=body, headers=callers.all()), 422, "Invalid", named)


@pytest.mark.timeout(60)
async def test_without_a_worker_the_caller_is_told_so(http: httpx.AsyncClient, callers: Callers) -> None:
    run = await started(http, callers)
    assert_problem(await http.post(url(run, "pause"), headers=callers.all()), 503, "Unavailable", "No worker", run)


async def test_approvals_are_listed_shown_and_refused_to_who_asked(  # noqa: PLR0917 - fixtures
    http: httpx.AsyncClient,
    callers: Callers,
    strangers: Callers,
    state: State,
    tenant: str,
    constitution: ConstitutionRecord,
) -> None:
    run = await started(http, callers)
    approval = await open_approval(state, tenant, run, constitution, by="ana")
    listed = await http.get("/v1/approvals", params={"state": "pending", "run": run}, headers=callers.all())
    assert [item["id"] for item in listed.json()["items"]] == [approval]
    assert (await http.get(f"/v1/approvals/{approval}", headers=callers.all())).json()["state"] == "pending"
    own = await http.post(f"/v1/approvals/{approval}/approve", headers=callers.all("ana"))
    assert_problem(own, 403, "Denied", "Separation of duties")
    stranger = strangers.all("bob")
    for verb in ("approve", "deny"):
        assert_problem(await http.post(f"/v1/approvals/{approval}/{verb}", headers=stranger), 404, "NotFound")
    assert (await http.get(f"/v1/approvals/{approval}", headers=callers.all())).json()["state"] == "pending"


async def test_a_decided_approval_cannot_be_decided_again(
    http: httpx.AsyncClient, callers: Callers, state: State, tenant: str, constitution: ConstitutionRecord
) -> None:
    run = await started(http, callers)
    approval = await open_approval(state, tenant, run, constitution, by="ana")
    async with state.db.transaction(tenant) as tx:
        shown = await tx.approvals.get(approval)
    await decide(state.db, tenant, approval, "bob", approve=False, now=shown.expires_at.replace(year=2000))
    again = await http.post(f"/v1/approvals/{approval}/approve", headers=callers.all("cem"))
    assert_problem(again, 409, "Conflict", "denied", "bob")
