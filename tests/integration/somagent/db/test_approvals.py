"""Approvals: by another person, in time, once; and only as an attestation says that our issuer signed."""

import asyncio
import datetime as dt

import decisions
import pytest
from ledger_messages import begin_effect, key, run_id
from sqlalchemy import text

from capsules.actions.verdict import Demand
from capsules.approvals.approval import ApprovalDecision, RaiseBudget
from capsules.budgets.amounts import Amounts
from capsules.errors import Conflict, Denied, NotFound
from somagent.db.database import Database
from somagent.db.gate.approvals import PostgresApprovalDecisions
from somagent.db.gate.ledger import PostgresLedger
from somagent.identity.tokens import Attestation, Tokens

NOW = dt.datetime.now(dt.UTC)


@pytest.fixture
def tokens(db: Database) -> Tokens:
    return db.tokens


async def _ask(db: Database, tenant: str, run: str | None = None, **verdict):
    return (
        await PostgresLedger(db).begin(begin_effect(key(tenant, run or run_id(tenant)), decision="ask", **verdict))
    ).approval


async def _decide(db: Database, tenant: str, approval: str, *, by: str = "grace", approve: bool = True, now=NOW):
    return await decisions.decide(db, tenant, approval, by, approve=approve, comment="seen", now=now)


async def test_another_person_decides_once(db, tenant):
    asked = await _ask(db, tenant)
    approval = await _decide(db, tenant, asked.id)
    assert (approval.state, approval.decided_by, approval.comment) == ("approved", "grace", "seen")
    with pytest.raises(Conflict, match="approved by 'grace' already"):
        await _decide(db, tenant, asked.id, by="hedy", approve=False)
    async with db.transaction(tenant) as tx:
        events = [e.data["state"] for e in await tx.events.after(asked.run) if e.type == "approval.decided"]
    assert events == ["approved"]


async def test_of_two_who_decide_at_once_one_is_late(db, tenant):
    asked = await _ask(db, tenant)
    answers = await asyncio.gather(
        *(_decide(db, tenant, asked.id, by=f"p{i}", approve=i % 2 == 0) for i in range(10)), return_exceptions=True
    )
    assert sum(isinstance(a, Conflict) for a in answers) == 9


async def test_the_requester_cannot_decide_not_even_in_the_database(db, tenant):
    asked = await _ask(db, tenant)
    with pytest.raises(Denied, match="Separation of duties"):
        await _decide(db, tenant, asked.id, by="ada")
    with pytest.raises(Exception, match="approvals_duties"):
        async with db.transaction(tenant) as tx:
            await tx.connection.execute(text("UPDATE approvals SET decided_by = requested_by"))


async def test_an_approval_expires_and_the_gate_asks_anew(db, tenant):
    run = run_id(tenant)
    asked = await _ask(db, tenant, run, expires_seconds=1)
    with pytest.raises(Conflict, match="expired"):
        await _decide(db, tenant, asked.id, now=asked.expires_at)
    await asyncio.sleep(1.1)
    async with db.transaction(tenant) as tx:
        assert (await tx.approvals.get(asked.id)).state == "expired"
        assert [a.id for a in (await tx.approvals.list(state="expired")).items] == [asked.id]
        assert (await tx.approvals.list(state="pending")).items == ()
    again = await _ask(db, tenant, run)
    assert again.id != asked.id


async def test_an_approved_action_that_waited_too_long_needs_a_new_yes(db, tenant):
    run = run_id(tenant)
    asked = await _ask(db, tenant, run, expires_seconds=1)
    await _decide(db, tenant, asked.id)
    await asyncio.sleep(1.1)
    assert (await _ask(db, tenant, run)).id != asked.id


async def test_a_quorum_takes_that_many_different_people(db, tenant):
    run = run_id(tenant)
    asked = await _ask(db, tenant, run, demands=(Demand(quorum=2),))
    assert (await _decide(db, tenant, asked.id)).state == "pending"
    assert (await _ask(db, tenant, run, demands=(Demand(quorum=2),))).id == asked.id
    with pytest.raises(Denied, match="different people"):
        await _decide(db, tenant, asked.id)
    assert (await _decide(db, tenant, asked.id, by="hedy")).state == "approved"
    begun = await PostgresLedger(db).begin(begin_effect(key(tenant, run), decision="ask", demands=(Demand(quorum=2),)))
    assert begun.status == "go"


async def test_lists_are_paged_newest_first(db, tenant):
    ids = [(await _ask(db, tenant)).id for _ in range(5)]
    seen, cursor = [], None
    while True:
        async with db.transaction(tenant) as tx:
            page = await tx.approvals.list(cursor=cursor, limit=2)
        seen += [a.id for a in page.items]
        cursor = page.next
        if cursor is None:
            break
    assert seen == ids[::-1]


def _attestation(for_tenant: str, asked, **changes) -> Attestation:
    claims = {
        "tenant": for_tenant,
        "subject": "grace",
        "capabilities": frozenset({"approval:decide"}),
        "purpose": "approve",
        "run": asked.run,
        "approval": asked.id,
        "action": asked.action,
    }
    return Attestation(**(claims | changes))


async def _by_token(db: Database, tokens: Tokens, tenant: str, asked, said: Attestation, *, approve: bool = True):
    decision = ApprovalDecision(approval=asked.id, action=asked.action, token=tokens.mint_attestation(said))
    return await PostgresApprovalDecisions(db, tokens).decide(asked.run, tenant, decision, approve=approve)


async def test_a_decision_with_its_token_is_written_and_a_retry_of_it_is_no_problem(db, tenant, tokens):
    asked = await _ask(db, tenant)
    for _ in range(2):
        made = await _by_token(db, tokens, tenant, asked, _attestation(tenant, asked))
        assert (made.state, made.decided_by, made.problem) == ("approved", "grace", None)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"tenant": "other"}, "tenant 'other'"),
        ({"run": "other/run/1"}, "run 'other/run/1'"),
        ({"approval": "another"}, "approval 'another'"),
        ({"action": "sha256:" + "1" * 64}, "action 'sha256:1"),
        ({"purpose": "deny"}, "purpose 'deny'"),
        ({"capabilities": frozenset({"run:read"})}, "lacks the capability 'approval:decide'"),
        ({"subject": "ada"}, "Separation of duties"),
    ],
)
async def test_a_token_for_anything_else_is_refused_and_changes_nothing(db, tenant, tokens, changes, why):
    asked = await _ask(db, tenant)
    made = await _by_token(db, tokens, tenant, asked, _attestation(tenant, asked, **changes))
    assert why in made.problem
    assert (made.state, made.decided_by) == ("pending", None)


async def test_a_run_cannot_decide_the_approval_of_another(db, tenant, tokens):
    asked, other = await _ask(db, tenant), await _ask(db, tenant)
    wrong = asked.model_copy(update={"run": other.run})
    made = await _by_token(db, tokens, tenant, wrong, _attestation(tenant, wrong))
    assert made.problem == f"There is no approval {asked.id!r} in run {other.run!r}."
    assert (made.state, made.decided_by) == ("pending", None)


async def test_a_token_that_is_no_token_is_refused(db, tenant, tokens):
    asked = await _ask(db, tenant)
    decision = ApprovalDecision(approval=asked.id, action=asked.action, token="forged")
    made = await PostgresApprovalDecisions(db, tokens).decide(asked.run, tenant, decision, approve=True)
    assert made.problem
    assert made.state == "pending"


async def test_a_budget_is_raised_by_a_token_once_for_each_request(db, tenant, tokens):
    run = run_id(tenant)
    async with db.transaction(tenant) as tx:
        await tx.accounts.ensure("root", Amounts(tokens=100))
        await tx.accounts.carve("root", f"run:{run}", Amounts(tokens=10))
    amounts = Amounts(tokens=5)
    said = Attestation(
        tenant=tenant,
        subject="grace",
        capabilities=frozenset({"budget:raise"}),
        purpose="raise_budget",
        run=run,
        amounts=amounts,
        record=f"{run}/raise/k1",
    )
    gate = PostgresApprovalDecisions(db, tokens)
    request = RaiseBudget(amounts=amounts, token=tokens.mint_attestation(said))
    # The same message, and a new one of the same request.
    for again in (request, request, RaiseBudget(amounts=amounts, token=tokens.mint_attestation(said))):
        raised = await gate.raise_budget(run, tenant, again)
        assert (raised.limit, raised.problem) == (Amounts(tokens=15), None)
    more = RaiseBudget(amounts=Amounts(tokens=50), token=request.token)
    assert "amounts" in (await gate.raise_budget(run, tenant, more)).problem
    weak = tokens.mint_attestation(said.model_copy(update={"capabilities": frozenset()}))
    refused = await gate.raise_budget(run, tenant, RaiseBudget(amounts=amounts, token=weak))
    assert "budget:raise" in refused.problem
    too_much = said.model_copy(update={"amounts": Amounts(tokens=1000), "record": f"{run}/raise/k4"})
    request = RaiseBudget(amounts=too_much.amounts, token=tokens.mint_attestation(too_much))
    assert "cannot cover" in (await gate.raise_budget(run, tenant, request)).problem


async def test_an_unknown_approval_is_not_found(db, tenant):
    with pytest.raises(NotFound, match="'nothing'"):
        async with db.transaction(tenant) as tx:
            await tx.approvals.get("nothing")
