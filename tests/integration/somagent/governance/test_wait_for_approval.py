"""What a person must approve waits for that person, in workflows that know nothing of approvals and in those that do."""

import asyncio
from datetime import timedelta

import pytest
from temporalio.client import WorkflowFailureError

from somagent.governance import on_behalf_of
from somagent.governance.wait_for_approval import SIGNAL

LARGE = 20_000


async def test_an_activity_is_retried_until_its_approval_is_given(shop, order):
    bought = order(cents=LARGE)
    handle = await shop.start("Fulfilment", bought, "4111111111111111")
    run = await shop.run_of(handle)
    approval = await shop.pending(run)
    assert (approval.target, approval.requested_by) == ("orders/charge_card", "orders-service")
    await asyncio.sleep(1)  # five looks
    assert [line["what"] for line in shop.book(bought["id"])] == ["reserved", "reserved"]
    await shop.decide(approval, approve=True)
    assert (await handle.result())["receipt"]["cents"] == LARGE
    assert (await shop.decisions(run)).count("ask") == 1, "looking again leaves no receipt"
    assert [line["what"] for line in shop.book(bought["id"])].count("charged") == 1


async def test_a_no_ends_the_activity_with_the_name_of_who_said_it(shop, order):
    bought = order(cents=LARGE)
    handle = await shop.start("Fulfilment", bought, "4111111111111111")
    await shop.decide(await shop.pending(await shop.run_of(handle)), approve=False)
    with pytest.raises(WorkflowFailureError) as failed:
        await handle.result()
    refusal = failed.value.cause.cause
    assert refusal.type == "PolicyDenied"
    assert "ana said no: looked at it" in refusal.message
    assert "charged" not in [line["what"] for line in shop.book(bought["id"])]


async def test_an_earlier_no_does_not_answer_a_new_question(shop, order):
    bought = order(cents=LARGE)
    first = await shop.call_later("charge_card", bought, "4111", how="waits itself")
    run = await shop.run_of(first)
    await shop.decide(await shop.pending(run), approve=False)
    assert (await first.result())["refused"] == "PolicyDenied"
    second = await shop.call_later("charge_card", bought, "4111", how="waits itself", workflow_id=first.id)
    await shop.decide(await shop.pending(await shop.run_of(second)), approve=True)
    assert (await second.result())["cents"] == LARGE


async def test_who_acts_is_who_asked_and_cannot_decide(shop, order):
    with on_behalf_of("ana"):
        handle = await shop.start("Fulfilment", order(cents=LARGE), "4111111111111111")
    approval = await shop.pending(await shop.run_of(handle))
    assert approval.requested_by == "ana"
    made = await shop.decide(approval, approve=True)
    assert made.state == "pending"
    assert "Separation of duties" in made.problem
    await handle.terminate()


async def test_nobody_deciding_in_time_ends_the_wait(shop, order):
    bought = order(cents=LARGE)
    answer, run = await shop.call("notify_bank", bought["id"], how="patient")
    assert (answer["refused"], answer["final"]) == ("ApprovalRequired", True)
    assert "Nobody decided in time" in answer["why"]
    assert await shop.decisions(run) == ["ask"]
    assert shop.book(bought["id"]) == []


async def test_without_waiting_the_workflow_is_told_at_once(shop, order, governed):
    async with governed(terms=shop.terms.model_copy(update={"wait_for_approval": False})) as told:
        answer, run = await told.call("charge_card", order(cents=LARGE), "4111", how="patient")
        assert (answer["refused"], answer["final"]) == ("ApprovalRequired", True)
        assert await told.decisions(run) == ["ask"]


async def test_a_workflow_that_waits_itself_goes_on_when_it_looks(shop, order):
    handle = await shop.call_later("charge_card", order(cents=LARGE), "4111", how="waits itself")
    run = await shop.run_of(handle)
    await shop.decide(await shop.pending(run), approve=True)
    assert (await handle.result())["cents"] == LARGE
    assert await shop.decisions(run) == ["ask", "allow", "outcome"]


async def test_a_workflow_that_waits_itself_is_woken_by_a_signal(shop, order):
    handle = await shop.call_later("charge_card", order(cents=LARGE), "4111", how="waits for a signal")
    approval = await shop.pending(await shop.run_of(handle))
    await shop.decide(approval, approve=True)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(handle.result(), 1)
    await handle.signal(SIGNAL, approval.id)
    assert (await asyncio.wait_for(handle.result(rpc_timeout=timedelta(seconds=10)), 10))["cents"] == LARGE
