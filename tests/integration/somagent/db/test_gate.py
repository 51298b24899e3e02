"""The gate's two calls: every answer it can give, and what it leaves behind."""

import asyncio
from datetime import UTC, datetime

import pytest
from decisions import attest, decide
from ledger_messages import CONSTITUTION, begin_effect, constitution, finish_effect, key, run_id

from capsules.audit.receipt import verify_chain
from capsules.budgets.amounts import Amounts
from capsules.digest import digest
from capsules.errors import Conflict, Invalid, NotFound
from somagent.db.database import Database
from somagent.db.gate.ledger import PostgresLedger

TEN = Amounts(tokens=100, micro_usd=1000, tool_calls=10)


async def _account(db: Database, tenant: str, run: str, limit: Amounts = TEN) -> str:
    async with db.transaction(tenant) as tx:
        await tx.accounts.ensure(f"tenant:{tenant}", Amounts(tokens=10**6, micro_usd=10**6, tool_calls=10**6))
        await tx.accounts.carve(f"tenant:{tenant}", f"run:{run}", limit)
    return f"run:{run}"


async def _receipt_bodies(db: Database, tenant: str, run: str) -> list[dict]:
    async with db.transaction(tenant) as tx:
        chain = await tx.receipts.list(run)
    assert verify_chain(chain) is None
    return [receipt.body for receipt in chain]


async def test_an_allowed_action_is_reserved_settled_and_recorded(db, ledger: PostgresLedger, tenant):
    run = run_id(tenant)
    account = await _account(db, tenant, run)
    attempt = key(tenant, run)
    begun = await ledger.begin(begin_effect(attempt, cost=Amounts(tokens=30, tool_calls=1), account=account))
    assert begun.status == "go"
    facts = await ledger.facts(tenant, run, account, CONSTITUTION)
    assert facts.account.reserved == Amounts(tokens=30, tool_calls=1)
    assert facts.constitution == "valid"
    settled = await ledger.finish(
        finish_effect(attempt, usage=Amounts(tokens=12, tool_calls=1), result={"text": "nul \0 ok"})
    )
    assert settled.left == Amounts(tokens=88, micro_usd=1000, tool_calls=9)
    assert (begun.receipt.seq, settled.receipt.seq) == (1, 2)
    decided, finished = await _receipt_bodies(db, tenant, run)
    assert (decided["decision"], decided["reason"], decided["verdict"]["score"]) == ("allow", "policy", 612_000)
    assert (finished["ok"], finished["overrun"]) == (True, None)
    assert finished["reserved"] == {"tokens": 30, "micro_usd": 0, "tool_calls": 1}
    async with db.transaction(tenant) as tx:
        events = [(e.topic, e.type) for e in await tx.events.after(run)]
        record = await tx.runs.get(run)
    assert events == [
        ("agent.events", "run.started"),
        ("policy.decisions", "action.decided"),
        ("tool.events", "action.finished"),
    ]
    assert (record.status, record.account, record.spent) == ("running", account, Amounts(tokens=12, tool_calls=1))


async def test_a_denied_action_spends_nothing_and_is_counted(db, ledger, tenant):
    run = run_id(tenant)
    account = await _account(db, tenant, run)
    begun = await ledger.begin(begin_effect(key(tenant, run), decision="deny", cost=Amounts(tokens=5), account=account))
    assert begun.status == "denied"
    facts = await ledger.facts(tenant, run, account, CONSTITUTION)
    assert facts.denials == 1
    assert facts.account.left == TEN
    assert [b["decision"] for b in await _receipt_bodies(db, tenant, run)] == ["deny"]


async def test_an_effect_that_is_done_is_replayed_and_not_run_again(db, ledger, tenant):
    run = run_id(tenant)
    account = await _account(db, tenant, run)
    first = key(tenant, run, "a")
    await ledger.begin(begin_effect(first, cost=Amounts(tool_calls=1), account=account, idempotent=False))
    result = {"value": [1, 2.5, None, "ü\0"], "usage": {"tokens": 1}}
    done = finish_effect(first, usage=Amounts(tool_calls=1), result=result)
    assert await ledger.finish(done) == await ledger.finish(done)
    retry = key(tenant, run, "a", attempt=2)
    begun = await ledger.begin(begin_effect(retry, cost=Amounts(tool_calls=1), account=account, idempotent=False))
    assert (begun.status, begun.result) == ("replay", result)
    assert [b.get("replay") for b in await _receipt_bodies(db, tenant, run)] == [None, None, True]
    facts = await ledger.facts(tenant, run, account, CONSTITUTION)
    assert facts.account.spent == Amounts(tool_calls=1)


async def test_a_retry_of_an_idempotent_effect_keeps_its_reservation(db, ledger, tenant):
    run = run_id(tenant)
    account = await _account(db, tenant, run)
    for attempt in (1, 2, 3):
        begun = await ledger.begin(
            begin_effect(key(tenant, run, "a", attempt=attempt), cost=Amounts(tokens=60), account=account)
        )
        assert begun.status == "go"
    facts = await ledger.facts(tenant, run, account, CONSTITUTION)
    assert facts.account.reserved == Amounts(tokens=60)
    # The report of an attempt that was overtaken adds its usage and leaves the reservation to the last one.
    await ledger.finish(
        finish_effect(key(tenant, run, "a", attempt=2), ok=False, usage=Amounts(tokens=5), error="lost")
    )
    facts = await ledger.facts(tenant, run, account, CONSTITUTION)
    assert (facts.account.reserved, facts.account.spent) == (Amounts(tokens=60), Amounts(tokens=5))
    settled = await ledger.finish(finish_effect(key(tenant, run, "a", attempt=3), usage=Amounts(tokens=50), result=1))
    assert settled.left.tokens == 100 - 55


async def test_a_failed_attempt_gives_its_reservation_back(db, ledger, tenant):
    run = run_id(tenant)
    account = await _account(db, tenant, run)
    attempt = key(tenant, run)
    await ledger.begin(begin_effect(attempt, cost=Amounts(tokens=60), account=account))
    settled = await ledger.finish(finish_effect(attempt, ok=False, error="Unavailable: model is away \0"))
    assert settled.left == TEN


async def test_an_uncertain_effect_becomes_a_question_and_a_yes_charges_the_first_attempt(db, ledger, tenant):
    run = run_id(tenant)
    account = await _account(db, tenant, run)
    cost = Amounts(tool_calls=2)
    await ledger.begin(begin_effect(key(tenant, run, "a"), cost=cost, account=account, idempotent=False))
    begun = await ledger.begin(
        begin_effect(key(tenant, run, "a", attempt=2), cost=cost, account=account, idempotent=False)
    )
    assert begun.status == "ask"
    assert "may have taken effect" in begun.approval.sentence
    # The workflow waits and executes again as another activity: still the same question, until a person says yes.
    again = begin_effect(key(tenant, run, "b"), cost=cost, account=account, idempotent=False)
    waiting = await ledger.begin(again)
    assert (waiting.status, waiting.approval.id) == ("ask", begun.approval.id)
    await _approve(db, tenant, begun.approval.id)
    assert (await ledger.begin(again)).status == "go"
    facts = await ledger.facts(tenant, run, account, CONSTITUTION)
    assert (facts.account.spent, facts.account.reserved) == (cost, cost)
    # It was alive after all and reports: what was charged becomes what it really used.
    await ledger.finish(finish_effect(key(tenant, run, "a"), usage=Amounts(tool_calls=1), result=1))
    await ledger.finish(finish_effect(key(tenant, run, "b"), usage=Amounts(tool_calls=1), result=2))
    facts = await ledger.facts(tenant, run, account, CONSTITUTION)
    assert (facts.account.spent, facts.account.reserved) == (cost, Amounts())
    await _receipt_bodies(db, tenant, run)


async def test_what_took_effect_before_a_reset_is_asked_about_before_it_is_done_again(db, ledger, tenant):
    run = run_id(tenant)
    first = key(tenant, run, "a")
    await ledger.begin(begin_effect(first, idempotent=False))
    await ledger.finish(finish_effect(first))
    assert (await ledger.begin(begin_effect(key(tenant, run, "b"), idempotent=False))).status == "go", "no reset"
    await ledger.finish(finish_effect(key(tenant, run, "b")))
    after_reset = first.model_copy(update={"execution": "e2"})
    assert (await ledger.begin(begin_effect(after_reset, idempotent=True))).status == "go"
    again = begin_effect(
        after_reset.model_copy(update={"activity": "c"}), target="tickets@1.0.0/open", idempotent=False
    )
    assert (await ledger.begin(again)).status == "go", "another action"
    asked = await ledger.begin(begin_effect(after_reset.model_copy(update={"activity": "d"}), idempotent=False))
    assert asked.status == "ask"
    assert "It took effect in an earlier execution of this run, and python@1.0.0/run" in asked.approval.sentence
    await _approve(db, tenant, asked.approval.id)
    approved = begin_effect(after_reset.model_copy(update={"activity": "e"}), idempotent=False)
    assert (await ledger.begin(approved)).status == "go"


async def test_a_used_approval_does_not_cover_a_later_uncertain_attempt(db, ledger, tenant):
    run = run_id(tenant)
    first = begin_effect(key(tenant, run, "a"), decision="ask", idempotent=False)
    asked = await ledger.begin(first)
    await _approve(db, tenant, asked.approval.id)
    assert (await ledger.begin(first)).status == "go"
    retry = await ledger.begin(begin_effect(key(tenant, run, "a", attempt=2), decision="ask", idempotent=False))
    assert retry.status == "ask"
    assert retry.approval.id != asked.approval.id


async def test_an_approval_lets_one_effect_pass_also_when_it_is_retried(db, ledger, tenant):
    run = run_id(tenant)
    asked = await ledger.begin(begin_effect(key(tenant, run, "a"), decision="ask"))
    assert asked.status == "ask"
    assert asked.approval.requested_by == "ada"
    assert (await ledger.begin(begin_effect(key(tenant, run, "b"), decision="ask"))).approval == asked.approval
    await _approve(db, tenant, asked.approval.id)
    assert (await ledger.begin(begin_effect(key(tenant, run, "c"), decision="ask"))).status == "go"
    await ledger.finish(finish_effect(key(tenant, run, "c"), ok=False, error="no luck"))
    assert (await ledger.begin(begin_effect(key(tenant, run, "c", attempt=2), decision="ask"))).status == "go"
    other = await ledger.begin(begin_effect(key(tenant, run, "d"), decision="ask"))
    assert other.status == "ask"
    assert other.approval.id != asked.approval.id
    bodies = await _receipt_bodies(db, tenant, run)
    assert [b["approved_by"] for b in bodies if b.get("decision") == "allow"] == ["grace", "grace"]


async def test_only_one_of_many_takes_an_approval(db, ledger, tenant):
    run = run_id(tenant)
    asked = await ledger.begin(begin_effect(key(tenant, run), decision="ask"))
    await _approve(db, tenant, asked.approval.id)
    answers = await asyncio.gather(*(ledger.begin(begin_effect(key(tenant, run), decision="ask")) for _ in range(20)))
    assert sorted(a.status for a in answers) == ["ask"] * 19 + ["go"]
    await _receipt_bodies(db, tenant, run)


async def test_an_exhausted_account_keeps_the_approval_for_later(db, ledger, tenant):
    run = run_id(tenant)
    account = await _account(db, tenant, run, Amounts(tokens=10))
    wanted = begin_effect(key(tenant, run, "a"), decision="ask", cost=Amounts(tokens=20), account=account)
    asked = await ledger.begin(wanted)
    await _approve(db, tenant, asked.approval.id)
    begun = await ledger.begin(wanted)
    assert (begun.status, begun.left) == ("exhausted", Amounts(tokens=10))
    async with db.transaction(tenant) as tx:
        await tx.accounts.raise_limit(account, Amounts(tokens=10), key="r1", by="grace")
    assert (await ledger.begin(wanted)).status == "go"
    reasons = [(b["decision"], b["reason"]) for b in await _receipt_bodies(db, tenant, run)]
    assert reasons == [("ask", "policy"), ("deny", "budget"), ("allow", "approval")]


async def test_a_cost_without_an_account_is_refused(ledger, tenant):
    begun = await ledger.begin(begin_effect(key(tenant, run_id(tenant)), cost=Amounts(tokens=1)))
    assert (begun.status, begun.left) == ("exhausted", Amounts())


async def test_usage_beyond_the_reservation_is_recorded_as_it_was(db, ledger, tenant):
    run = run_id(tenant)
    account = await _account(db, tenant, run, Amounts(tokens=10))
    attempt = key(tenant, run)
    await ledger.begin(begin_effect(attempt, cost=Amounts(tokens=10), account=account))
    settled = await ledger.finish(finish_effect(attempt, usage=Amounts(tokens=17), result=1))
    assert settled.left == Amounts()
    assert (await _receipt_bodies(db, tenant, run))[-1]["overrun"] == {"tokens": 7, "micro_usd": 0, "tool_calls": 0}
    facts = await ledger.facts(tenant, run, account, CONSTITUTION)
    assert facts.account.spent == Amounts(tokens=17)
    assert (
        await ledger.begin(begin_effect(key(tenant, run), cost=Amounts(tokens=1), account=account))
    ).status == "exhausted"


async def test_a_revoked_or_unknown_constitution_lets_nothing_pass(owner: Database, db, ledger, tenant):
    run = run_id(tenant)
    old = {"kind": "Constitution", "metadata": {"name": "store-tests", "version": "0.9.0"}}
    await owner.constitutions.install(constitution(datetime.now(UTC), document=old))
    assert (await ledger.begin(begin_effect(key(tenant, run), constitution=digest(old)))).status == "go"
    token = attest(owner, tenant, "revoke_constitution", record=digest(old))
    await owner.constitutions.revoke(digest(old), tenant=tenant, token=token, reason="It was wrong.")
    assert (await ledger.begin(begin_effect(key(tenant, run), constitution=digest(old)))).status == "revoked"
    unknown = digest("never installed")
    assert (await ledger.begin(begin_effect(key(tenant, run), constitution=unknown))).status == "revoked"
    assert (await ledger.facts(tenant, run, None, unknown)).constitution == "unknown"
    assert [b["decision"] for b in await _receipt_bodies(db, tenant, run)] == ["allow", "deny", "deny"]
    assert await ledger.active_constitution(tenant) == CONSTITUTION


async def test_concurrent_actions_of_one_run_make_one_whole_chain(db, tenant):
    run = run_id(tenant)

    async def act() -> None:
        attempt, ledger = key(tenant, run), PostgresLedger(db)  # as in as many workers, that take no turns
        await ledger.begin(begin_effect(attempt))
        await ledger.finish(finish_effect(attempt, result="done"))

    await asyncio.gather(*(act() for _ in range(30)))
    assert len(await _receipt_bodies(db, tenant, run)) == 60


async def test_a_finish_without_a_begin_and_a_nul_in_a_name_are_refused(ledger, tenant):
    with pytest.raises(Conflict, match="never began"):
        await ledger.finish(finish_effect(key(tenant, run_id(tenant))))
    with pytest.raises(Invalid, match="NUL"):
        await ledger.begin(begin_effect(key(tenant, run_id(tenant)), target="python\0"))


async def test_an_unknown_tenant_cannot_begin(ledger):
    with pytest.raises(NotFound, match="tenant is not known"):
        await ledger.begin(begin_effect(key("nobody", "nobody/x/1")))


async def _approve(db: Database, tenant: str, approval: str) -> None:
    await decide(db, tenant, approval)
