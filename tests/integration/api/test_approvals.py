"""Deciding by the API: who could, what is lent, many at once; and what is refused before any run is asked."""

from typing import Any

import httpx
import pytest
from api_callers import Callers, assert_problem
from ledger_messages import begin_effect, key, run_id
from sqlalchemy import event

from api.deps import State
from capsules.actions.verdict import Demand, Escalation
from capsules.constitutions.constitution import ConstitutionRecord
from capsules.governance.application import Enrolment
from capsules.identity.principal import Principal
from somagent.db.gate.ledger import PostgresLedger

DECIDES = "approval:decide"
SEES = "approval:read"


@pytest.fixture
async def approval(state: State, tenant: str, constitution: ConstitutionRecord) -> str:
    """An approval that ada's action waits for, of two people; later the board may decide too."""
    question = begin_effect(
        key(tenant, run_id(tenant)),
        decision="ask",
        constitution=constitution.digest,
        demands=(Demand(quorum=2),),
        escalation=(Escalation(after_seconds=3600, capability="approval:board"),),
    )
    begun = await PostgresLedger(state.db).begin(question)
    assert begun.approval is not None
    return begun.approval.id


async def add_people(state: State, tenant: str, **people: set[str]) -> None:
    async with state.db.transaction(tenant) as tx:
        for subject, capabilities in people.items():
            await tx.principals.add(Principal(tenant=tenant, subject=subject, capabilities=frozenset(capabilities)))


async def test_an_approval_shows_whom_it_asks_and_who_could_decide(
    http: httpx.AsyncClient, callers: Callers, state: State, tenant: str, approval: str
) -> None:
    await add_people(state, tenant, ada={DECIDES}, ben={DECIDES}, cem={"run:read"}, bo={"approval:board"})
    shown = (await http.get(f"/v1/approvals/{approval}", headers=callers.with_(SEES))).json()
    assert shown["demands"] == shown["missing"] == [{"capability": DECIDES, "quorum": 2}]
    assert [g["capability"] for g in shown["escalation"]] == ["approval:board"]
    assert shown["deciders"] == [{"subject": "ben", "on_behalf_of": None, "escalated": False}]
    assert shown["answers"] == []


@pytest.mark.parametrize(
    ("subject", "held", "why"),
    [
        ("ada", {DECIDES}, "Separation of duties"),
        ("bo", {"approval:board"}, f"lacks the capability '{DECIDES}'"),
        ("cem", {"run:read"}, f"lacks the capability '{DECIDES}'"),
    ],
)
async def test_who_may_not_decide_may_neither_attest_nor_edit_nor_see_to_it_in_a_batch(  # noqa: PLR0917 - a case
    http: httpx.AsyncClient, callers: Callers, approval: str, subject: str, held: set[str], why: str
) -> None:
    headers = callers.with_(SEES, *held, subject=subject)
    for verb, body in (
        ("approve", {}),
        ("deny", {}),
        ("edit", {"arguments": {}}),
        ("attestation", {"approve": True}),
    ):
        answer = await http.post(f"/v1/approvals/{approval}/{verb}", json=body, headers=headers)
        assert_problem(answer, 403, "Denied", why)
    batch = {"decisions": [{"approval": approval, "approve": True}]}
    [result] = (await http.post("/v1/approvals/decide", json=batch, headers=headers)).json()["results"]
    assert (result["done"], result["problem"]["code"]) == (False, "Denied")


async def test_a_batch_is_of_one_to_a_hundred(http: httpx.AsyncClient, callers: Callers) -> None:
    for decisions in ([], [{"approval": "a", "approve": True}] * 101, [{"approval": "a"}], [{"approve": True}]):
        answer = await http.post("/v1/approvals/decide", json={"decisions": decisions}, headers=callers.all())
        assert_problem(answer, 422, "Invalid", "body.decisions")
    many = {"decisions": [{"approval": f"none-{n}", "approve": True} for n in range(100)]}
    answer = await http.post("/v1/approvals/decide", json=many, headers=callers.all())
    assert [(r["done"], r["problem"]["code"]) for r in answer.json()["results"]] == [(False, "NotFound")] * 100


async def test_what_is_lent_is_one_own_to_somebody_known_for_a_time(
    http: httpx.AsyncClient, callers: Callers, state: State, tenant: str
) -> None:
    await add_people(state, tenant, grace={DECIDES}, ben=set(), weak=set())
    good = {"capability": DECIDES, "to": "ben"}
    without = await http.post("/v1/delegations", json=good, headers=callers.with_(SEES, subject="grace"))
    assert_problem(without, 403, "Denied", "'grace' does not hold")
    grace = callers.with_(SEES, DECIDES, subject="grace")
    weak = callers.with_(SEES, subject="weak")
    for headers, body, status, code, named in (
        (weak, good, 403, "Denied", "'weak' does not hold"),
        (grace, good | {"to": "nobody"}, 404, "NotFound", "nobody"),
        (grace, good | {"to": "grace"}, 422, "Invalid", "themselves"),
        (grace, good | {"seconds": "91d"}, 422, "Invalid", "body.seconds"),
        (grace, good | {"seconds": 0}, 422, "Invalid", "body.seconds"),
        (grace, good | {"capability": "everything"}, 422, "Invalid", "body.capability"),
    ):
        assert_problem(await http.post("/v1/delegations", json=body, headers=headers), status, code, named)
    made = await http.post("/v1/delegations", json=good | {"seconds": "2h", "reason": "leave"}, headers=grace)
    assert made.status_code == 201
    listed = (await http.get("/v1/delegations", params={"of": "ben"}, headers=weak)).json()["items"]
    assert [(d["id"], d["state"], d["reason"]) for d in listed] == [(made.json()["id"], "open", "leave")]
    assert (await http.get("/v1/delegations", params={"of": "weak"}, headers=weak)).json()["items"] == []
    path = f"/v1/delegations/{made.json()['id']}"
    assert_problem(await http.delete(path, headers=weak), 403, "Denied", "between 'grace' and 'ben'")
    for _ in range(2):
        ended = (await http.delete(path, headers=callers.with_(SEES, subject="ben"))).json()
        assert (ended["state"], ended["revoked_by"]) == ("revoked", "ben")
    assert_problem(await http.delete("/v1/delegations/none", headers=grace), 404, "NotFound", "none")


async def test_a_delegate_attests_in_the_name_of_who_lent_and_nobody_elses(
    http: httpx.AsyncClient, callers: Callers, state: State, tenant: str, approval: str
) -> None:
    await add_people(state, tenant, ada={DECIDES}, grace={DECIDES}, ben=set())
    for owner in ("ada", "grace"):
        lent = callers.with_(SEES, DECIDES, subject=owner)
        assert (
            await http.post("/v1/delegations", json={"capability": DECIDES, "to": "ben"}, headers=lent)
        ).status_code == 201
    ben = callers.with_(SEES, subject="ben")
    path = f"/v1/approvals/{approval}/attestation"
    minted = await http.post(path, json={"approve": True}, headers=ben)
    assert minted.status_code == 201, minted.text
    assert state.tokens.verify_attestation(minted.json()["token"]).on_behalf_of == "grace"
    asker = await http.post(path, json={"approve": True, "on_behalf_of": "ada"}, headers=ben)
    assert_problem(asker, 403, "Denied", "Separation of duties")
    other = await http.post(path, json={"approve": True, "on_behalf_of": "hedy"}, headers=ben)
    assert_problem(other, 403, "Denied", "'hedy' has lent 'ben' nothing")
    shown = (await http.get(f"/v1/approvals/{approval}", headers=ben)).json()
    assert [(d["subject"], d["on_behalf_of"]) for d in shown["deciders"]] == [("grace", None), ("ben", "grace")]


async def test_a_decision_reads_the_approval_three_times(
    http: httpx.AsyncClient, callers: Callers, state: State, tenant: str, constitution: ConstitutionRecord
) -> None:
    """Once to refuse early, once locked to be written, once to show how it stands."""
    run = run_id(tenant)
    enrolment = Enrolment(
        run=run,
        root=run,
        application="shop@1.0.0",
        actor="ada",
        namespace="default",
        workflow_id="w",
        workflow_type="Order",
        first_run_id="f",
        account=f"tenant:{tenant}",
        constitution=constitution.digest,
    )
    async with state.db.transaction(tenant) as tx:
        await tx.applications.enter(enrolment)
    question = begin_effect(key(tenant, run), decision="ask", constitution=constitution.digest)
    asked = (await PostgresLedger(state.db).begin(question)).approval
    assert asked is not None
    reads: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if "FROM approvals" in statement:
            reads.append(statement)

    engine = state.db.engine.sync_engine
    event.listen(engine, "before_cursor_execute", note)
    try:
        answer = await http.post(f"/v1/approvals/{asked.id}/approve", headers=callers.with_(SEES, DECIDES))
    finally:
        event.remove(engine, "before_cursor_execute", note)
    assert answer.status_code == 200, answer.text
    assert (answer.json()["state"], answer.json()["decided_by"]) == ("approved", "ana")
    assert answer.headers["x-policy-decision"] == "ask"
    assert len(reads) == 3
