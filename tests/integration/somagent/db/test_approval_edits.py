"""Edit-then-approve in the database: what was edited is closed, and its editor's yes counts once, for one demand."""

import datetime as dt

import pytest
from decisions import attest_answer, decide
from ledger_messages import begin_effect, key, run_id

from capsules.actions.ledger_messages import BeginEffect
from capsules.actions.verdict import Demand
from capsules.approvals.eligibility import Approver
from capsules.audit.receipt import verify_chain
from capsules.digest import digest
from capsules.errors import Conflict, Denied
from somagent.db.database import Database
from somagent.db.gate.ledger import PostgresLedger

DECIDES = "approval:decide"
RECEIPT = {"edited_to": '"x"'}


def begin_call(tenant: str, run: str, arguments: int, **verdict) -> BeginEffect:
    """The gate's question about a call with these arguments."""
    made = begin_effect(key(tenant, run), decision="ask", **verdict)
    action = made.action.model_copy(update={"arguments": digest(arguments)})
    update = {"action": action, "action_digest": action.digest(), "call_arguments": digest(arguments)}
    return made.model_copy(update=update)


async def edit(db: Database, tenant: str, approval: str, to: BeginEffect, by: str, *held: str):
    now, approver = dt.datetime.now(dt.UTC), Approver(by, frozenset(held or {DECIDES}))
    async with db.transaction(tenant) as tx:
        locked = await tx.approvals.lock(approval)
        token = attest_answer(db, tenant, locked, approver, "edit", now=now, arguments=to.call_arguments)
        return await tx.approvals.edit(
            locked, approver, to=to.action_digest, receipt=RECEIPT, token=token, comment="smaller", now=now
        )


async def approve(db: Database, tenant: str, approval: str, by: str, *held: str):
    return await decide(db, tenant, approval, by, *held)


async def test_an_editor_who_is_the_one_needed_has_approved_what_they_wrote_and_nothing_else(db, tenant):
    ledger, run = PostgresLedger(db), run_id(tenant)
    asked = (await ledger.begin(begin_call(tenant, run, 1))).approval
    edited = await edit(db, tenant, asked.id, begin_call(tenant, run, 2), "grace")
    assert (edited.state, edited.decided_by, edited.answers[0].said) == ("edited", "grace", "edit")
    assert (await ledger.begin(begin_call(tenant, run, 3))).status == "ask", "a third action is neither of the two"
    begun = begin_call(tenant, run, 2)
    assert (await ledger.begin(begun)).status == "go"
    assert (await ledger.begin(begin_call(tenant, run, 2))).status == "ask", "the yes was used"
    async with db.transaction(tenant) as tx:
        [used] = [a for a in (await tx.approvals.list(run=run)).items if a.state == "used"]
        receipts = await tx.receipts.list(run)
        assert verify_chain(receipts) is None
        kinds = [e.type for e in await tx.events.after(run)]
    assert (used.edited_from, used.decided_by, used.action) == (asked.id, "grace", begun.action_digest)
    assert [(r.kind, r.activity) for r in receipts if "edited_to" in r.body] == [("outcome", "approval.edit")]
    assert "approval.edited" in kinds


async def test_where_two_must_approve_the_editor_is_one_of_them(db, tenant):
    ledger, run = PostgresLedger(db), run_id(tenant)
    demands = (Demand(quorum=2),)
    asked = (await ledger.begin(begin_call(tenant, run, 1, demands=demands))).approval
    await approve(db, tenant, asked.id, "hedy")
    await edit(db, tenant, asked.id, begin_call(tenant, run, 2), "grace")
    again = (await ledger.begin(begin_call(tenant, run, 2, demands=demands))).approval
    assert again.id != asked.id
    async with db.transaction(tenant) as tx:
        shown = await tx.approvals.get(again.id)
    assert ([a.by for a in shown.answers], shown.missing) == (["grace"], (Demand(),))
    with pytest.raises(Denied, match="'grace' approved already"):
        await approve(db, tenant, again.id, "grace")
    assert (await approve(db, tenant, again.id, "hedy")).state == "approved", "her yes was for the action of before"


async def test_an_editor_with_every_role_is_not_enough_where_several_are_asked(db, tenant):
    ledger, run = PostgresLedger(db), run_id(tenant)
    demands = (Demand(capability="approval:security"), Demand(capability="approval:finance"))
    both = ("approval:security", "approval:finance")
    asked = (await ledger.begin(begin_call(tenant, run, 1, demands=demands))).approval
    await edit(db, tenant, asked.id, begin_call(tenant, run, 2), "grace", *both)
    again = (await ledger.begin(begin_call(tenant, run, 2, demands=demands))).approval
    async with db.transaction(tenant) as tx:
        assert (await tx.approvals.get(again.id)).missing == (demands[1],)
    assert (await approve(db, tenant, again.id, "fay", "approval:finance")).state == "approved"


async def test_an_editor_whom_the_edited_action_does_not_ask_has_said_nothing_about_it(db, tenant):
    ledger, run = PostgresLedger(db), run_id(tenant)
    asked = (await ledger.begin(begin_call(tenant, run, 1))).approval
    await edit(db, tenant, asked.id, begin_call(tenant, run, 2), "grace")
    stricter = begin_call(tenant, run, 2, demands=(Demand(capability="approval:security"),))
    again = (await ledger.begin(stricter)).approval
    async with db.transaction(tenant) as tx:
        shown = await tx.approvals.get(again.id)
    assert (shown.answers, shown.state, shown.edited_from) == ((), "pending", asked.id)


async def test_the_requester_and_who_may_not_decide_cannot_edit_and_an_edit_changes_something(db, tenant):
    ledger, run = PostgresLedger(db), run_id(tenant)
    asked = (await ledger.begin(begin_call(tenant, run, 1))).approval
    with pytest.raises(Denied, match="Separation of duties"):
        await edit(db, tenant, asked.id, begin_call(tenant, run, 2), "ada")
    with pytest.raises(Denied, match="lacks the capability"):
        await edit(db, tenant, asked.id, begin_call(tenant, run, 2), "ben", "run:read")
    with pytest.raises(Conflict, match="changes nothing"):
        await edit(db, tenant, asked.id, begin_call(tenant, run, 1), "grace")
    await edit(db, tenant, asked.id, begin_call(tenant, run, 2), "grace")
    with pytest.raises(Conflict, match="edited by 'grace' already"):
        await approve(db, tenant, asked.id, "hedy")
