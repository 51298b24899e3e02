"""From an event to a person: told of what waits, later when the receiver was down, and once for each event."""

import asyncio
import datetime as dt
import json

import pytest
from decisions import decide
from ledger_messages import begin_effect, key, run_id
from receivers import new_hook, new_mailbox, receiving, serving
from sqlalchemy import insert

from capsules.actions.verdict import Escalation
from capsules.approvals.approval import ApprovalRequest
from capsules.events import Event
from capsules.runs.run import RunUpdate
from somagent.db.database import Database
from somagent.db.repositories.deliveries import DeliveryQueue
from somagent.db.schema.tables import outbox as outbox_table
from somagent.notifications.mail import Mail


async def ask(ledger, tenant: str, run: str | None = None) -> ApprovalRequest:
    """Let an action ask for a person; return what waits."""
    return (await ledger.begin(begin_effect(key(tenant, run or run_id(tenant)), decision="ask"))).approval


async def events(db: Database, run: str, *types: str) -> list[Event]:
    async with db.transaction(run.partition("/")[0]) as tx:
        return [event for event in await tx.events.after(run) if event.type in types]


async def deliveries(db: Database, tenant: str, channel: str):
    async with db.transaction(tenant) as tx:
        return [d for d in (await tx.deliveries.list(limit=500)).items if d.channel == channel]


def bodies_for(hook, tenant: str) -> list[dict]:
    """Return the bodies that a hook got for a tenant: the notifier tells of every tenant's events."""
    return [body for body in (json.loads(p.body) for p in hook.got) if body["tenant"] == tenant]


async def test_an_approval_that_waits_is_told_with_the_command_that_answers(db, ledger, tenant, webhook, notifier):
    asked = await ask(ledger, tenant)
    with serving(new_hook()) as hook:
        await notifier(webhook(hook)).sweep()
    [told] = bodies_for(hook, tenant)
    [event] = await events(db, asked.run, "approval.requested")
    assert (told["id"], told["type"], told["run"]) == (str(event.id), "approval.requested", asked.run)
    assert told["title"] == "tool.invoke python@1.0.0/run waits for your yes or no"
    assert told["approval"]["id"] == asked.id
    assert told["url"] == f"http://127.0.0.1:8080/v1/approvals/{asked.id}"
    commands = [f"somagent approvals show {asked.id}", f"somagent approve {asked.id}", f"somagent deny {asked.id}"]
    assert told["commands"] == commands
    expires = asked.expires_at.astimezone(dt.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    for said in (*commands, "S(a) is 0.612", "Asked by ada", "approval:decide", asked.run, expires):
        assert said in told["text"]


async def test_a_decision_and_a_wait_for_budget_are_told(db, ledger, tenant, webhook, notifier):
    asked = await ask(ledger, tenant)
    with serving(new_hook()) as hook:
        sending = notifier(webhook(hook))
        await sending.sweep()
        await deny(db, tenant, asked.id)
        async with db.transaction(tenant) as tx:
            await tx.runs.record(
                RunUpdate(run=asked.run, tenant=tenant, status="awaiting_budget", reason="12 tokens short.", step=1)
            )
        await sending.sweep()
    decided, budget = bodies_for(hook, tenant)[1:]
    assert (decided["type"], decided["title"]) == ("approval.decided", "tool.invoke python@1.0.0/run: denied")
    assert "by: grace" in decided["text"]
    assert budget["type"] == "budget.requested"
    assert "12 tokens short." in budget["text"]
    assert f"somagent budget raise {asked.run} --tokens 1000" in budget["commands"]


async def test_an_escalation_asks_the_next_group_and_an_expiry_is_told(db, ledger, tenant, webhook, notifier):
    later = Escalation(after_seconds=60, capability="approval:chief")
    asked = (
        await ledger.begin(begin_effect(key(tenant, run_id(tenant)), decision="ask", escalation=(later,)))
    ).approval
    with serving(new_hook()) as hook:
        sending = notifier(webhook(hook), types=["approval.escalated", "approval.expired"])
        async with db.transaction(tenant) as tx:
            await tx.approvals.escalate(asked.id, groups=1)
        await sending.sweep()
        async with db.transaction(tenant) as tx:
            await tx.approvals.expire(asked.id)
        await sending.sweep()
    escalated, expired = bodies_for(hook, tenant)
    assert escalated["title"] == "tool.invoke python@1.0.0/run still waits, now for you too"
    assert "whoever has approval:chief may decide too" in escalated["text"]
    assert f"somagent approve {asked.id}" in escalated["commands"]
    assert expired["title"] == "tool.invoke python@1.0.0/run: expired"
    assert expired["commands"] == [f"somagent approvals show {asked.id}"]


async def test_what_was_decided_meanwhile_says_so(db, ledger, tenant, webhook, notifier):
    asked = await ask(ledger, tenant)
    await deny(db, tenant, asked.id)
    with serving(new_hook()) as hook:
        await notifier(webhook(hook), types=["approval.requested"]).sweep()
    [told] = bodies_for(hook, tenant)
    assert told["title"].endswith("is denied already")
    assert told["commands"] == [f"somagent approvals show {asked.id}"]


async def test_a_receiver_that_was_down_gets_it_later_and_once(db, ledger, tenant, webhook, notifier):
    hook = new_hook(500, 204)
    channel = webhook(hook)
    sending = notifier(channel)
    asked = await ask(ledger, tenant)
    await sending.sweep()
    [waiting] = await deliveries(db, tenant, channel.name)
    assert (waiting.state, waiting.attempts) == ("waiting", 1)
    assert "cannot be reached" in waiting.said
    with serving(hook):
        async with asyncio.timeout(20):
            while (await deliveries(db, tenant, channel.name))[0].state != "sent":
                await asyncio.sleep(0.05)
                await sending.sweep()
        for _ in range(3):
            await sending.sweep()
    [event] = await events(db, asked.run, "approval.requested")
    assert hook.ids.count(str(event.id)) in {1, 2}, "the one that was answered with 500, and the one after it"
    assert len({body["id"] for body in bodies_for(hook, tenant)}) == 1
    [sent] = await deliveries(db, tenant, channel.name)
    assert (sent.state, sent.attempts >= 2, sent.ended_at is not None) == ("sent", True, True)


async def test_nothing_is_sent_twice_by_notifiers_at_once(db, ledger, tenant, webhook, notifier):
    asked = [await ask(ledger, tenant) for _ in range(10)]
    with serving(new_hook()) as hook:
        channel = webhook(hook)
        await asyncio.gather(*(notifier(channel).sweep() for _ in range(4)))
        await notifier(channel).sweep()
    told = [body["approval"]["id"] for body in bodies_for(hook, tenant)]
    assert sorted(told) == sorted(one.id for one in asked)


async def test_an_attempt_that_died_is_made_again_under_the_same_id(  # noqa: PLR0917 - fixtures
    db, ledger, tenant, webhook, notifier, outbox
):
    await ask(ledger, tenant)
    with serving(new_hook()) as hook:
        channel = webhook(hook)
        queue = DeliveryQueue(outbox.engine, channel.name)
        began = await queue.enqueue(["approval.requested"])
        while await queue.take(began, lease=dt.timedelta(seconds=1)):
            pass  # taken, and never ended: what a process leaves that was killed
        await notifier(channel).sweep()
        assert bodies_for(hook, tenant) == [], "somebody else may be sending it"
        await asyncio.sleep(1.1)
        await notifier(channel).sweep()
    assert len(bodies_for(hook, tenant)) == 1
    assert [d.attempts for d in await deliveries(db, tenant, channel.name)] == [2]


async def test_what_is_refused_too_often_or_for_good_is_dead_and_shown(db, ledger, tenant, webhook, notifier):
    await ask(ledger, tenant)
    with serving(new_hook(503)) as failing, serving(new_hook(410)) as gone:
        often, once = webhook(failing), webhook(gone)
        sending = notifier(often, attempts=3)
        for _ in range(12):
            await sending.sweep()
            await asyncio.sleep(0.1)
        await notifier(once).sweep()
    for channel, attempts, said in ((often, 3, "503"), (once, 1, "410")):
        [dead] = await deliveries(db, tenant, channel.name)
        assert (dead.state, dead.attempts) == ("dead", attempts)
        assert said in dead.said
    assert (len(bodies_for(failing, tenant)), len(bodies_for(gone, tenant))) == (3, 1)


async def test_a_broken_channel_does_not_hold_up_another(db, ledger, tenant, webhook, notifier):
    asked = await ask(ledger, tenant)
    broken = webhook(new_hook())
    with receiving(new_mailbox()) as mailbox:
        mail = Mail(
            "127.0.0.1", mailbox.port, "none", "soma@acme.example", ("ops@acme.example",), name=broken.name + "m"
        )
        await asyncio.gather(notifier(broken).sweep(), notifier(mail).sweep())
    [message] = [m for m in mailbox.got if m["Subject"].startswith(f"[somagent {tenant}]")]
    assert f"somagent approve {asked.id}" in message.get_content()
    assert message["Subject"].endswith("waits for your yes or no")


async def test_only_the_chosen_and_the_recent_events_are_told(  # noqa: PLR0917 - fixtures
    db, owner, ledger, tenant, webhook, notifier
):
    asked = await ask(ledger, tenant)
    await deny(db, tenant, asked.id)
    async with owner.transaction(tenant) as tx:
        old = {"topic": "approval.events", "type": "approval.decided", "tenant_id": tenant, "data": {}}
        at = dt.datetime.now(dt.UTC) - dt.timedelta(days=4)
        await tx.connection.execute(insert(outbox_table).values(**old, at=at))
    with serving(new_hook()) as hook:
        await notifier(webhook(hook), types=["approval.decided"]).sweep()
    assert [told["type"] for told in bodies_for(hook, tenant)] == ["approval.decided"]


async def test_a_tenant_sees_its_own_deliveries_only_and_the_application_cannot_write_them(  # noqa: PLR0917 - fixtures
    db, ledger, tenant, webhook, notifier, owner
):
    await ask(ledger, tenant)
    with serving(new_hook()) as hook:
        channel = webhook(hook)
        await notifier(channel).sweep()
    stranger = f"{tenant}-b"
    await owner.tenants.add(stranger)
    assert await deliveries(db, stranger, channel.name) == []
    with pytest.raises(Exception, match="permission denied"):
        async with db.transaction(tenant) as tx:
            await tx.connection.exec_driver_sql("UPDATE deliveries SET state = 'sent'")


async def deny(db: Database, tenant: str, approval: str) -> None:
    await decide(db, tenant, approval, approve=False, comment="No.")
