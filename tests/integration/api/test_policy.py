"""Constitutions through the API: shown, dry run, check, prove, compare, explain and backtest; few at once, none kept."""

import asyncio
import time
from typing import Any

import httpx
import pytest
import yaml
from api_callers import Callers, assert_problem, publish
from constitutions import activate_document, default
from ledger_messages import begin_effect, key, run_id
from sqlalchemy import text

from api.deps import State
from api.proof_pool import ProofPool
from capsules.actions.action import Action, Facts
from capsules.constitutions.constitution import ConstitutionRecord
from capsules.digest import digest
from capsules.errors import Unavailable
from policy.prove.review import compile_policy
from somagent.capsule_files.library import Library
from somagent.db.database import Database
from somagent.db.gate.ledger import PostgresLedger
from somagent.local_stack.bootstrap import sign_constitution

SECRET = {"kind": "tool.invoke", "target": "python@1.0.0/run", "data": "secret", "egress": "open"}


def broken() -> dict[str, Any]:
    document = default("1.1.0")
    document["articles"] = [one for one in document["articles"] if one["id"] != "no-secret-egress"]
    return document


@pytest.fixture
def headers(callers: Callers, constitution: ConstitutionRecord) -> dict[str, str]:
    return callers.all()


async def test_a_file_is_checked_and_every_fault_has_its_clause(
    http: httpx.AsyncClient, headers: dict[str, str]
) -> None:
    as_yaml = headers | {"content-type": "application/yaml"}
    text = yaml.safe_dump(Library.load().constitution)
    checked = (await http.post("/v1/policy/check", content=text, headers=as_yaml)).json()
    assert checked["digest"] == digest(Library.load().constitution)
    bad = text.replace("action.data == 'secret' &&", "action.dta == 'secret' &&")
    problem = assert_problem(await http.post("/v1/policy/check", content=bad, headers=as_yaml), 422, "Invalid")
    assert [one["clause"] for one in problem["problems"]] == ["no-secret-egress", "secrets-stay"]
    assert all("line 1, column" in one["message"] for one in problem["problems"])
    again = await http.post("/v1/policy/check", content="a: [", headers=as_yaml)
    assert assert_problem(again, 422, "Invalid")["problems"][0]["line"] == 1
    huge = text.replace("threshold: 0.55", "threshold: 1e999")
    answer = await http.post("/v1/policy/check", content=huge, headers=as_yaml)
    assert_problem(answer, 422, "Invalid", "cannot be kept as JSON")
    missing = await http.post("/v1/policy/check", json={"kind": "Overlay"}, headers=headers)
    assert_problem(missing, 422, "Invalid", "metadata")


async def test_the_active_constitution_is_proved_and_a_broken_one_refuted(
    http: httpx.AsyncClient, headers: dict[str, str], constitution: ConstitutionRecord
) -> None:
    for subject in ("active", constitution.digest):
        proved = (await http.post("/v1/policy/prove", json={"constitution": subject}, headers=headers)).json()
        assert proved["holds"] is True
        assert proved["report"]["constitution"] == constitution.digest
    refuted = (await http.post("/v1/policy/prove", json={"constitution": broken()}, headers=headers)).json()
    assert refuted["holds"] is False
    assert [p["guarantee"] for p in refuted["report"]["proofs"] if p["outcome"] == "refuted"] == ["secrets-stay"]


async def test_overlays_are_proved_to_narrow(http: httpx.AsyncClient, headers: dict[str, str]) -> None:
    overlay = {
        "apiVersion": "somagent/v1",
        "kind": "Overlay",
        "metadata": {"name": "over", "version": "1.0.0"},
        "base": "default",
        "score": {"threshold": 0.6},
    }
    for threshold, outcome in ((0.6, "proved"), (0.5, "refuted")):
        asked = {"overlays": [overlay | {"score": {"threshold": threshold}}]}
        answer = await http.post("/v1/policy/prove", json=asked, headers=headers)
        assert answer.json()["narrower"]["outcome"] == outcome


async def test_two_versions_are_compared_by_what_they_decide(http: httpx.AsyncClient, headers: dict[str, str]) -> None:
    answer = await http.post("/v1/policy/diff", json={"old": "active", "new": broken()}, headers=headers)
    found = {(c["before"], c["after"]): c["outcome"] for c in answer.json()["changes"]}
    assert found[("deny", "allow")] == "found"
    assert found[("allow", "deny")] == "none"
    same = (await http.post("/v1/policy/diff", json={"new": "active"}, headers=headers)).json()
    assert {c["outcome"] for c in same["changes"]} == {"none"}


async def test_what_is_not_installed_or_not_the_tenants_is_not_found(
    http: httpx.AsyncClient, headers: dict[str, str]
) -> None:
    nobody = f"sha256:{'0' * 64}"
    for path, body in (
        ("prove", {"constitution": nobody}),
        ("diff", {"new": nobody}),
        ("backtest", {"candidate": nobody}),
    ):
        assert_problem(await http.post(f"/v1/policy/{path}", json=body, headers=headers), 404, "NotFound")


async def test_what_was_installed_for_others_is_not_shown(
    http: httpx.AsyncClient, headers: dict[str, str], api_owner: Database, state: State
) -> None:
    others = sign_constitution(state.keyring, default("9.9.9"))
    await api_owner.constitutions.install(others)
    answer = await http.post("/v1/policy/prove", json={"constitution": others.digest}, headers=headers)
    assert_problem(answer, 404, "NotFound", others.digest)


async def test_a_document_that_is_too_large_is_refused(http: httpx.AsyncClient, headers: dict[str, str]) -> None:
    large = default()
    large["articles"][0]["because"] = "x" * 300_000
    answer = await http.post("/v1/policy/prove", json={"constitution": large}, headers=headers)
    assert_problem(answer, 422, "Invalid", "at most 262,144")


async def test_a_denied_action_is_explained_with_what_would_help(
    http: httpx.AsyncClient, headers: dict[str, str]
) -> None:
    told = (await http.post("/v1/policy/explain", json={"action": SECRET}, headers=headers)).json()
    assert told["cited"][0]["clause"] == "no-secret-egress"
    assert told["advice"] == [{"attribute": "action.egress", "now": "'open'", "to": "'none'"}]
    assert told["advised"]["verdict"]["decision"] == "allow"
    both = {"action": SECRET, "run": "a/b/c", "seq": 1}
    assert_problem(await http.post("/v1/policy/explain", json=both, headers=headers), 422, "Invalid", "explanation")


async def test_a_dry_run_explains_what_is_not_allowed_and_tells_it_in_headers(
    http: httpx.AsyncClient, headers: dict[str, str], constitution: ConstitutionRecord
) -> None:
    answer = await http.post("/v1/policy/dry-run", json={"action": SECRET}, headers=headers)
    assert answer.json()["judged"][0]["explanation"]["cited"][0]["clause"] == "no-secret-egress"
    assert answer.headers["x-policy-decision"] == "deny"
    assert answer.headers["x-policy-score"] == "0.600000"
    assert answer.headers["x-constitution-hash"] == constitution.digest
    allowed = await http.post("/v1/policy/dry-run", json={"action": SECRET | {"egress": "none"}}, headers=headers)
    assert allowed.json()["judged"][0]["explanation"] is None
    assert allowed.headers["x-policy-decision"] == "allow"


async def test_a_start_tells_its_verdict_and_a_denied_one_begins_nothing(  # noqa: PLR0917
    http: httpx.AsyncClient,
    callers: Callers,
    state: State,
    api_owner: Database,
    tenant: str,
    constitution: ConstitutionRecord,
) -> None:
    await publish(http, callers)
    answer = await http.post("/v1/capsules/hello@1/runs", json={"inputs": {"text": "a"}}, headers=callers.all())
    assert answer.status_code == 202, answer.text
    assert answer.headers["x-policy-decision"] == "allow"
    assert answer.headers["x-constitution-hash"] == constitution.digest
    nightly = {"name": "nightly", "capsule": "hello@1", "cron": ["0 7 * * *"], "inputs": {"text": "a"}}
    assert (await http.post("/v1/schedules", json=nightly, headers=callers.all())).status_code == 201
    triggered = await http.post("/v1/schedules/nightly/trigger", headers=callers.all())
    assert triggered.headers["x-policy-decision"] == "allow"
    closed = default("1.1.0")
    closed["articles"].append({"id": "no-starts", "forbid": "action.kind == 'capsule.start'", "because": "Closed."})
    active = await activate_document(api_owner, state.keyring, closed, scope=tenant)
    before = (await http.get("/v1/runs", headers=callers.all())).json()["items"]
    refused = await http.post("/v1/capsules/hello@1/runs", json={"inputs": {"text": "a"}}, headers=callers.all())
    problem = assert_problem(refused, 403, "PolicyDenied", "Closed. (no-starts)")
    assert problem["fields"]["explanation"]["cited"][0]["clause"] == "no-starts"
    assert refused.headers["x-policy-decision"] == "deny"
    assert refused.headers["x-constitution-hash"] == active.digest
    assert (await http.get("/v1/runs", headers=callers.all())).json()["items"] == before
    async with state.db.transaction(tenant) as tx:
        rows = await tx.connection.execute(text("SELECT data FROM outbox WHERE type = 'start.denied'"))
        (told,) = rows.scalars()
    assert (told["clauses"], told["decision"], told["constitution"]) == (["no-starts"], "deny", active.digest)
    late = await http.post("/v1/schedules/nightly/trigger", headers=callers.all())
    assert_problem(late, 403, "PolicyDenied", "Closed. (no-starts)")


@pytest.fixture
async def recorded(state: State, tenant: str, constitution: ConstitutionRecord) -> str:
    """A run of the tenant whose second action the broken constitution would allow."""
    run, ledger, policy = run_id(tenant), PostgresLedger(state.db), compile_policy(constitution.document)
    for action in (
        Action(kind="slm.chat", target="dialogue", arguments=digest({})),
        Action(**SECRET, arguments=digest({})),
        Action(**SECRET, arguments=digest({"again": 1})),
    ):
        verdict, attempt = policy.evaluate(action, Facts()), key(tenant, run)
        made = begin_effect(attempt, constitution=constitution.digest)
        await ledger.begin(
            made.model_copy(update={"action": action, "action_digest": action.digest(), "verdict": verdict})
        )
    return run


async def test_a_backtest_shows_the_first_flip_of_each_run_with_links(
    http: httpx.AsyncClient, headers: dict[str, str], recorded: str
) -> None:
    found = (await http.post("/v1/policy/backtest", json={"candidate": broken()}, headers=headers)).json()
    assert (found["runs"], found["actions"], found["skipped"]) == (1, 3, 0)
    (flip,) = found["flips"]
    assert (flip["run"], flip["seq"], flip["before"], flip["after"]) == (recorded, 2, "deny", "allow")
    assert (await http.get(flip["link"], headers=headers)).json()["id"] == recorded
    first = (await http.get(flip["receipts"], headers=headers)).json()["items"][0]
    assert first["seq"] == 2
    same = (await http.post("/v1/policy/backtest", json={"candidate": "active"}, headers=headers)).json()
    assert same["flips"] == []
    for wrong in ("2026-01-01T00:00:00", "0001-01-01T00:00:00+14:00", "yesterday"):
        asked = {"candidate": "active", "since": wrong}
        assert_problem(await http.post("/v1/policy/backtest", json=asked, headers=headers), 422, "Invalid", "since")
    none = {"candidate": "active", "since": "2199-01-01T00:00:00Z"}
    assert (await http.post("/v1/policy/backtest", json=none, headers=headers)).json()["runs"] == 0


async def test_a_recorded_decision_is_explained_by_its_receipt_to_who_may_read_runs(
    http: httpx.AsyncClient, headers: dict[str, str], callers: Callers, recorded: str
) -> None:
    asked = {"run": recorded, "seq": 2}
    told = (await http.post("/v1/policy/explain", json=asked, headers=headers)).json()
    assert told["cited"][0]["clause"] == "no-secret-egress"
    missing = await http.post("/v1/policy/explain", json=asked | {"seq": 9}, headers=headers)
    assert_problem(missing, 404, "NotFound", "Receipt 9")
    for path, body in (("explain", asked), ("backtest", {"candidate": "active"})):
        refused = await http.post(f"/v1/policy/{path}", json=body, headers=callers.with_("policy:read"))
        assert_problem(refused, 403, "Denied", "run:read")
    strangers = asked | {"run": "another/word-count/1"}
    assert_problem(await http.post("/v1/policy/explain", json=strangers, headers=headers), 404, "NotFound")


async def test_when_all_proofs_are_under_way_the_next_is_sent_away(state: State) -> None:
    desk = ProofPool("proofs", at_once=2, patience=0.2, metrics=state.metrics)
    under_way = [asyncio.create_task(desk.work(lambda: time.sleep(1.5))) for _ in range(2)]
    await asyncio.sleep(0.05)
    with pytest.raises(Unavailable, match="2 proofs are under way"):
        await desk.work(lambda: None)
    await asyncio.gather(*under_way)
    assert await desk.work(lambda: "free again") == "free again"
    assert 'somagent_policy_work_refused_total{what="proofs"} 1' in state.metrics.text()


async def test_without_the_capability_nothing_is_reviewed(http: httpx.AsyncClient, callers: Callers) -> None:
    for path in ("check", "prove", "diff", "explain", "backtest", "dry-run"):
        answer = await http.post(f"/v1/policy/{path}", json={}, headers=callers.without("policy:read"))
        assert_problem(answer, 403, "Denied", "policy:read")


async def test_the_active_constitution_is_shown_with_its_signature(
    http: httpx.AsyncClient, callers: Callers, constitution: ConstitutionRecord
) -> None:
    shown = (await http.get("/v1/constitution", headers=callers.all())).json()
    assert shown["digest"] == constitution.digest
    assert shown["signatures"] == [one.model_dump() for one in constitution.signatures]


async def test_a_dry_run_judges_and_does_nothing(
    http: httpx.AsyncClient, callers: Callers, constitution: ConstitutionRecord
) -> None:
    harmless = {"action": {"kind": "slm.chat", "target": "dialogue"}}
    secret = {"action": {"kind": "tool.invoke", "target": "x@1.0.0/y", "data": "secret", "egress": "open"}}
    judged = [
        (await http.post("/v1/policy/dry-run", json=body, headers=callers.all())).json()["judged"][0]
        for body in (harmless, secret)
    ]
    assert [j["verdict"]["decision"] for j in judged] == ["allow", "deny"]
    assert all(j["verdict"]["constitution"] == constitution.digest for j in judged)
    assert judged[1]["verdict"]["clauses"]
    await publish(http, callers)
    whole = await http.post("/v1/policy/dry-run", json={"capsule": "hello@1"}, headers=callers.all())
    assert [j["action"]["kind"] for j in whole.json()["judged"]] == ["capsule.start", "tool.invoke"]
    assert (await http.get("/v1/runs", headers=callers.all())).json()["items"] == []
    both = harmless | {"capsule": "hello"}
    assert_problem(await http.post("/v1/policy/dry-run", json=both, headers=callers.all()), 422, "Invalid", "either")
