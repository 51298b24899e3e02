"""Runs that Temporal ended are closed and their budgets go back, whatever way they went."""

import datetime as dt
from datetime import timedelta

import pytest
from constitutions import make_active
from ledger_messages import begin_effect, constitution
from servers import eventually
from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.worker import Worker

from capsules.actions.ledger_messages import AttemptKey
from capsules.actions.verdict import Outcome
from capsules.budgets.amounts import Amounts
from capsules.runs.run import CloseRun
from somagent.db.database import Database
from somagent.db.gate.ledger import PostgresLedger
from somagent.db.gate.run_projection import PostgresRuns
from somagent.identity.keys import KeyRing
from somagent.runs.ledger_recovery import LedgerRecovery
from somagent.runs.run_reconciler import RunReconciler
from somagent.settings import Settings
from somagent.temporal.client import connect

LIMIT = Amounts(tokens=1000, micro_usd=500, tool_calls=10)
NOW = timedelta(0)


@pytest.fixture
async def temporal(temporal_address: str) -> Client:
    return await Client.connect(temporal_address, data_converter=pydantic_data_converter)


@pytest.fixture
def reconciler(temporal: Client, outbox: Database, db: Database) -> RunReconciler:
    return RunReconciler(temporal, outbox, PostgresRuns(db), ledger_recovery(temporal, db), minimum_age=NOW)


def ledger_recovery(temporal: Client, db: Database) -> LedgerRecovery:
    return LedgerRecovery(temporal, db, PostgresLedger(db))


async def reconcile_all(reconciler: RunReconciler) -> list[CloseRun]:
    """Look at every page: other tests of the session have left open runs, too."""
    closed = await reconciler.sweep()
    while reconciler._after != ("", ""):
        closed += await reconciler.sweep()
    return closed


async def start(temporal: Client, run: str, **options) -> None:
    """Start a workflow that no worker serves: it stays open until something ends it."""
    await temporal.start_workflow("RunCapsule", id=run, task_queue="nobody-serves-this", **options)


async def carve_account(db: Database, tenant: str, run: str) -> None:
    async with db.transaction(tenant) as tx:
        await tx.accounts.ensure(f"tenant:{tenant}", LIMIT)
        await tx.accounts.carve(f"tenant:{tenant}", f"run:{run}", LIMIT)


async def test_a_terminated_run_is_closed_and_gives_its_budget_back(
    temporal: Client, reconciler: RunReconciler, db: Database, tenant: str, run: str
):
    await start(temporal, run)
    await carve_account(db, tenant, run)
    assert run not in {closed.run for closed in await reconcile_all(reconciler)}, "it is still open"
    await temporal.get_workflow_handle(run).terminate("by an operator")
    [closed] = [c for c in await reconcile_all(reconciler) if c.run == run]
    assert "terminated" in closed.reason
    async with db.transaction(tenant) as tx:
        record = await tx.runs.get(run)
        assert (record.status, record.reason) == ("failed", closed.reason)
        assert record.closed_at is not None
        assert (await tx.accounts.get(f"tenant:{tenant}")).left == LIMIT
        assert [event.type for event in await tx.events.after(run)][-1] == "run.closed"
    assert run not in {closed.run for closed in await reconcile_all(reconciler)}, "once is enough"


async def test_a_run_that_timed_out_is_closed(temporal: Client, reconciler: RunReconciler, run: str):
    await start(temporal, run, execution_timeout=timedelta(seconds=1))
    with pytest.raises(Exception, match="Workflow execution failed"):
        await temporal.get_workflow_handle(run).result()
    [closed] = [c for c in await reconcile_all(reconciler) if c.run == run]
    assert "timed out" in closed.reason


async def test_a_run_that_never_started_is_closed_only_after_a_while(
    temporal: Client, reconciler: RunReconciler, outbox: Database, db: Database, run: str
):
    assert run not in {closed.run for closed in await reconcile_all(reconciler)}
    patient = RunReconciler(
        temporal, outbox, PostgresRuns(db), ledger_recovery(temporal, db), minimum_age=NOW, abandoned_age=NOW
    )
    [closed] = [c for c in await reconcile_all(patient) if c.run == run]
    assert "never started" in closed.reason


async def test_a_young_run_is_left_alone(temporal: Client, outbox: Database, db: Database, run: str):
    careful = RunReconciler(temporal, outbox, PostgresRuns(db), ledger_recovery(temporal, db), abandoned_age=NOW)
    assert run not in {closed.run for closed in await reconcile_all(careful)}


USED, HELD = Amounts(tokens=30), Amounts(tokens=100)


@activity.defn(name="counted")
async def counted() -> Outcome[str]:
    return Outcome(value="done", usage=USED)


@workflow.defn(name="Half", sandboxed=False)
class Half:
    """Has one activity done; of a second it never hears."""

    @workflow.run
    async def run(self) -> None:
        await workflow.execute_activity(counted, activity_id="first", start_to_close_timeout=timedelta(seconds=10))
        await workflow.execute_activity(
            "counted",
            activity_id="second",
            task_queue="nobody-serves-this",
            schedule_to_close_timeout=timedelta(hours=1),
        )


async def half_done(temporal: Client, db: Database, tenant: str, run: str) -> None:
    """Let Temporal hear of the first activity's end; the ledger hears of two beginnings and of no end."""
    await carve_account(db, tenant, run)
    async with Worker(temporal, task_queue=tenant, workflows=[Half], activities=[counted]):
        handle = await temporal.start_workflow("Half", id=run, task_queue=tenant)
        execution = str(handle.first_execution_run_id)
        ledger = PostgresLedger(db)
        for name in ("first", "second"):
            attempt = AttemptKey(tenant=tenant, run=run, execution=execution, activity=name, attempt=1)
            assert (await ledger.begin(begin_effect(attempt, cost=HELD, account=f"run:{run}"))).status == "go"

        async def completed() -> None:
            events = [event async for event in handle.fetch_history_events()]
            assert any(event.HasField("activity_task_completed_event_attributes") for event in events)

        await eventually(completed)
    await handle.terminate("by an operator")


async def test_what_the_history_knows_is_settled_and_what_it_does_not_know_counts_whole(  # noqa: PLR0917 - fixtures
    temporal: Client, reconciler: RunReconciler, db: Database, owner: Database, tenant: str, run: str
):
    """As after a failover to a copy that lagged behind."""
    await make_active(owner, constitution(dt.datetime.now(dt.UTC)))
    await half_done(temporal, db, tenant, run)
    assert run in {closed.run for closed in await reconcile_all(reconciler)}
    async with db.transaction(tenant) as tx:
        account = await tx.accounts.get(f"run:{run}")
        assert (account.spent, account.reserved) == (USED + HELD, Amounts())
        assert await tx.accounts.breaches() == ()
        bodies = [receipt.body for receipt in await tx.receipts.list(run)]
    assert [body["ok"] for body in bodies if "usage" in body] == [True]


async def test_a_history_that_cannot_be_decrypted_does_not_keep_its_run_open(  # noqa: PLR0917 - fixtures
    settings: Settings,
    temporal_address: str,
    outbox: Database,
    db: Database,
    owner: Database,
    tenant: str,
    run: str,
    tmp_path,
):
    """Its effects count whole: nobody can read what they used."""
    await make_active(owner, constitution(dt.datetime.now(dt.UTC)))
    theirs, ours = [await connect(settings, KeyRing.create_missing(tmp_path / name)) for name in ("theirs", "ours")]
    await half_done(theirs, db, tenant, run)
    reconciler = RunReconciler(ours, outbox, PostgresRuns(db), ledger_recovery(ours, db), minimum_age=NOW)
    assert run in {closed.run for closed in await reconcile_all(reconciler)}
    async with db.transaction(tenant) as tx:
        assert (await tx.accounts.get(f"run:{run}")).spent == HELD + HELD


@pytest.mark.parametrize("execution", ["e1", "0199a1b2-7c3d-7e4f-8a5b-6c7d8e9f0a1b"])
async def test_an_effect_of_which_there_is_no_history_counts_whole(  # noqa: PLR0917 - fixtures
    temporal: Client, reconciler: RunReconciler, db: Database, owner: Database, tenant: str, run: str, execution: str
):
    await make_active(owner, constitution(dt.datetime.now(dt.UTC)))
    await carve_account(db, tenant, run)
    await start(temporal, run)
    attempt = AttemptKey(tenant=tenant, run=run, execution=execution, activity="first", attempt=1)
    assert (await PostgresLedger(db).begin(begin_effect(attempt, cost=HELD, account=f"run:{run}"))).status == "go"
    await temporal.get_workflow_handle(run).terminate("by an operator")
    assert run in {closed.run for closed in await reconcile_all(reconciler)}
    async with db.transaction(tenant) as tx:
        assert (await tx.accounts.get(f"run:{run}")).spent == HELD
