"""An application that is not ours in shape, under our gate: what it may do happens once, and nothing else does."""

from capsules.audit.receipt import verify_chain
from capsules.budgets.amounts import Amounts


async def test_an_order_is_fulfilled_with_a_receipt_for_every_effect(shop, order):
    bought = order()
    handle = await shop.start("Fulfilment", bought, "4111111111111111")
    done = await handle.result()
    assert (done["receipt"]["charge"], done["parcel"]["tracking"]) == (f"ch-{bought['id']}", f"tr-{bought['id']}")
    assert sorted(line["what"] for line in shop.book(bought["id"])) == ["booked", "charged", "reserved", "reserved"]

    run = await shop.run_of(handle)
    assert sorted(await shop.decisions(run)) == ["allow"] * 3 + ["outcome"] * 3
    receipts = await shop.receipts(run)
    assert verify_chain(receipts) is None
    assert {receipt.body["actor"] for receipt in receipts if receipt.kind == "decision"} == {"orders-service"}
    targets = {receipt.body["action"]["target"] for receipt in receipts if receipt.kind == "decision"}
    assert targets == {"orders/reserve_stock", "orders/charge_card"}


async def test_a_child_keeps_the_authority_and_spends_the_budget_of_who_started_it(shop, order):
    bought = order()
    handle = await shop.start("Fulfilment", bought, "4111111111111111")
    await handle.result()
    root = await shop.run_of(handle)
    [child] = [run for run in await shop.runs() if run.inputs["workflow_id"] == f"ship {bought['id']}"]
    assert (child.parent, child.account) == (root, f"run:{root}")
    assert await shop.decisions(child.id) == ["allow", "outcome"]
    assert verify_chain(await shop.receipts(child.id)) is None
    account = await shop.account(f"run:{root}")
    # Two reservations, the charge and the child's parcel; of the charge what the bank took, not its upper bound.
    assert account.spent == Amounts(tool_calls=4, micro_usd=bought["total_cents"] * 10_000)
    assert account.reserved == Amounts()


async def test_a_workflow_that_continues_as_new_keeps_authority_account_and_chain(shop):
    handle = await shop.start("Stocktakings", {"last": 3})
    assert await handle.result() == {"shelf-1": 10, "shelf-2": 20, "shelf-3": 30}
    run = await shop.run_of(handle)
    receipts = await shop.receipts(run)
    assert [r.kind for r in receipts] == ["decision", "outcome"] * 3
    assert len({r.body["execution"] for r in receipts}) == 3
    assert verify_chain(receipts) is None
    assert (await shop.account(f"run:{run}")).spent == Amounts(tool_calls=3)


async def test_a_signal_of_the_application_still_arrives(shop, order):
    bought = order(cents=20_000)
    handle = await shop.start("Fulfilment", bought, "4111111111111111")
    approval = await shop.pending(await shop.run_of(handle))
    await handle.signal("change_address", {"name": "Ada", "street": "2 Side St", "city": "Ghent"})
    await shop.decide(approval, approve=True)
    assert (await handle.result())["parcel"]["city"] == "Ghent"


async def test_the_same_workflow_id_again_is_another_run_with_another_budget(shop):
    first = await shop.start("Stocktakings", {"last": 1}, workflow_id="nightly")
    await first.result()
    second = await shop.start("Stocktakings", {"last": 1}, workflow_id="nightly")
    await second.result()
    runs = [await shop.run_of(first), await shop.run_of(second)]
    assert runs[0] != runs[1]
    assert [await shop.decisions(run) for run in runs] == [["allow", "outcome"]] * 2


async def test_it_is_denied_by_an_article_without_effect(shop):
    answer, run = await shop.call("erase_customer", "Eve")
    assert (answer["refused"], answer["final"]) == ("PolicyDenied", True)
    assert "Customers are not erased here." in answer["why"]
    assert await shop.decisions(run) == ["deny"]
    assert shop.book("Eve") == []


async def test_what_costs_more_than_the_budget_does_not_happen(shop, order, governed):
    terms = shop.terms.model_copy(update={"budget": Amounts(tool_calls=20, micro_usd=1_000_000)})
    async with governed(terms=terms) as poor:
        bought = order()
        answer, run = await poor.call("charge_card", bought, "4111")
        assert answer["refused"] == "BudgetExhausted"
        assert await poor.decisions(run) == ["deny"]
        assert poor.book(bought["id"]) == []


async def test_an_activity_that_nobody_marked_does_not_run(shop):
    answer, run = await shop.call("forgotten")
    assert (answer["refused"], answer["final"]) == ("UngovernedActivity", True)
    assert "forgotten" in answer["why"]
    assert shop.book("-") == []
    assert await shop.receipts(run) == []


async def test_an_activity_on_the_platforms_list_passes_without_a_receipt(shop):
    answer, run = await shop.call("ping")
    assert answer == "pong"
    assert await shop.receipts(run) == []


async def test_signals_read_what_is_inside_the_applications_own_types(shop, order):
    bought = order()
    clean, _ = await shop.call("reserve_stock", bought["lines"][0], bought["id"])
    assert clean == 1
    answer, _ = await shop.call("reserve_stock", {"sku": "AKIAQ3EGRB7XK2P5WNTD", "quantity": 1}, bought["id"])
    assert answer["refused"] == "PolicyDenied"
    assert "The warehouse is told no secrets." in answer["why"]
    assert [line["sku"] for line in shop.book(bought["id"])] == ["sku-0"]
