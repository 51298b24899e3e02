"""A run of an application is closed when its workflow has ended, and its budget returns; not before."""

from datetime import timedelta

from application_workflows import AbandonChild
from servers import eventually

from capsules.audit.receipt import verify_chain
from capsules.budgets.amounts import Amounts
from capsules.runs.run import RunRecord
from somagent.db.database import open_database
from somagent.db.gate.ledger import PostgresLedger
from somagent.db.gate.run_projection import PostgresRuns
from somagent.governance.application_run_reconciler import ApplicationRunReconciler
from somagent.runs.ledger_recovery import LedgerRecovery
from somagent.runs.run_reconciler import RunReconciler


async def reconciled_run(shop, run: str) -> RunRecord:
    """Return a run after the look that each worker takes now and then, which may have been taken already."""
    reconciler = ApplicationRunReconciler(shop.terms.application, shop.db, shop.client)
    await reconciler.sweep()
    await reconciler.sweep()  # a parent is closed after its children
    async with shop.db.transaction("shop") as tx:
        return await tx.runs.get(run)


async def enrolled_child(shop, parent: str) -> RunRecord:
    """Return a parent's only child, as soon as its own first action has entered it: the parent may be done by then."""

    async def entered() -> None:
        assert [each for each in await shop.runs() if each.parent == parent], f"{parent} has no child yet"

    await eventually(entered, seconds=15)
    [child] = [each for each in await shop.runs() if each.parent == parent]
    return child


async def test_a_run_whose_workflow_ended_is_closed_and_its_budget_goes_back(shop):
    handle = await shop.start("Stocktakings", {"last": 2})
    await handle.result()
    run = await shop.run_of(handle)
    assert (await reconciled_run(shop, run)).status == "completed"
    async with shop.db.transaction("shop") as tx:
        entries = await tx.accounts.ledger(f"run:{run}")
        [back] = [
            each
            for each in await tx.accounts.ledger("tenant:shop")
            if (each.kind, each.key) == ("return", f"run:{run}")
        ]
    assert entries[-1].kind == "close"
    assert (back.spent.tool_calls, back.reserved.tool_calls) == (2, -shop.terms.budget.tool_calls)
    receipts = await shop.receipts(run)
    assert verify_chain(receipts) is None
    assert [each.activity for each in receipts].count("run.close") == 1


async def test_a_run_that_goes_on_stays_open_with_its_children(shop, order):
    handle = await shop.start("Fulfilment", order(cents=20_000), "4111111111111111")
    run = await shop.run_of(handle)
    approval = await shop.pending(run)
    assert (await reconciled_run(shop, run)).status == "running"
    await shop.decide(approval, approve=True)
    await handle.result()
    assert (await reconciled_run(shop, run)).status == "completed"
    assert [each for each in await shop.runs() if each.parent == run and each.closed_at is None] == []


async def test_a_child_that_outlives_its_parent_still_has_its_budget(shop, order):
    bought = order(cents=20_000)
    parent = await shop.start(AbandonChild.run, "charge_card", [bought, "4111"], "patient")
    child = shop.client.get_workflow_handle(await parent.result())
    run = await shop.run_of(parent)
    left = await enrolled_child(shop, run)
    approval = await shop.pending(left.id)
    assert (await reconciled_run(shop, run)).status == (await reconciled_run(shop, left.id)).status == "running"
    await shop.decide(approval, approve=True)
    assert (await child.result())["charge"] == f"ch-{bought['id']}"
    assert (await reconciled_run(shop, run)).status == (await reconciled_run(shop, left.id)).status == "completed"
    assert (await shop.account(f"run:{run}")).spent == Amounts(tool_calls=2, micro_usd=200_000_000)


async def test_an_execution_that_was_terminated_ends_as_failed(shop, order):
    handle = await shop.start("Fulfilment", order(cents=20_000), "4111111111111111")
    run = await shop.run_of(handle)
    approval = await shop.pending(run)
    await handle.terminate()
    assert (await reconciled_run(shop, run)).status == "failed"
    assert (await shop.decide(approval, approve=True)).state == "expired"


async def test_the_platform_reconciler_leaves_runs_of_applications_alone(shop, order):
    handle = await shop.start("Fulfilment", order(cents=20_000), "4111111111111111")
    run = await shop.run_of(handle)
    await shop.pending(run)
    async with open_database(shop.settings.database("relay")) as outbox:
        # It would find no workflow of that id, and close the run at once.
        recovery = LedgerRecovery(shop.client, shop.db, PostgresLedger(shop.db))
        reconciler = RunReconciler(
            shop.client, outbox, PostgresRuns(shop.db), recovery, minimum_age=timedelta(0), abandoned_age=timedelta(0)
        )
        assert run not in {each.run for each in await reconciler.sweep()}
    assert (await reconciled_run(shop, run)).status == "running"
    await handle.terminate()


async def test_an_application_can_have_a_limit_of_its_own(shop, governed):
    application = shop.terms.application.model_copy(update={"name": "small-orders"})
    terms = shop.terms.model_copy(
        update={"application": application, "budget": Amounts(tool_calls=5), "limit": Amounts(tool_calls=8)}
    )
    async with governed(terms=terms) as small:
        held = await small.start(AbandonChild.run, "notify_bank", ["limit"], "waits itself")
        await held.result()
        second, _ = await small.call("count_shelf", 1)
        assert second["refused"] == "BudgetExhausted", "five of eight are held by the first"
        await small.client.get_workflow_handle(f"left by {held.id}").terminate()
        await reconciled_run(small, await small.run_of(held))
        third, _ = await small.call("count_shelf", 1)
        assert third == 10
