"""Runs that Temporal ended are closed and their budgets go back, whatever way they went."""

from datetime import timedelta

import pytest
from temporalio.client import Client

from capsules.amounts import Amounts
from somagent.store.closing import PostgresRuns
from somagent.store.database import Store
from workers.reconciling import Reconciler

LIMIT = Amounts(tokens=1000, micro_usd=500, tool_calls=10)
NOW = timedelta(0)


@pytest.fixture
async def temporal(temporal_address: str) -> Client:
    return await Client.connect(temporal_address)


@pytest.fixture
def reconciler(temporal: Client, outbox: Store, store: Store) -> Reconciler:
    return Reconciler(temporal, outbox, PostgresRuns(store), settling=NOW)


async def start(temporal: Client, run: str, **options) -> None:
    """Start a workflow that no worker serves: it stays open until something ends it."""
    await temporal.start_workflow("RunCapsule", id=run, task_queue="nobody-serves-this", **options)


async def fund(store: Store, tenant: str, run: str) -> None:
    async with store.transaction(tenant) as tx:
        await tx.accounts.ensure(f"tenant:{tenant}", None, LIMIT)
        await tx.accounts.carve(f"tenant:{tenant}", f"run:{run}", LIMIT)


async def test_a_terminated_run_is_closed_and_gives_its_budget_back(
    temporal: Client, reconciler: Reconciler, store: Store, tenant: str, run: str
):
    await start(temporal, run)
    await fund(store, tenant, run)
    assert run not in {closed.run for closed in await reconciler.sweep()}, "it is still open"
    await temporal.get_workflow_handle(run).terminate("by an operator")
    [closed] = [c for c in await reconciler.sweep() if c.run == run]
    assert "terminated" in closed.reason
    async with store.transaction(tenant) as tx:
        record = await tx.runs.get(run)
        assert (record.status, record.reason) == ("failed", closed.reason)
        assert record.closed_at is not None
        assert (await tx.accounts.get(f"tenant:{tenant}")).left == LIMIT
        assert [event.type for event in await tx.events.after(run)][-1] == "run.closed"
    assert run not in {closed.run for closed in await reconciler.sweep()}, "once is enough"


async def test_a_run_that_timed_out_is_closed(temporal: Client, reconciler: Reconciler, run: str):
    await start(temporal, run, execution_timeout=timedelta(seconds=1))
    with pytest.raises(Exception, match="Workflow execution failed"):
        await temporal.get_workflow_handle(run).result()
    [closed] = [c for c in await reconciler.sweep() if c.run == run]
    assert "timed out" in closed.reason


async def test_a_run_that_never_started_is_closed_only_after_a_while(
    temporal: Client, reconciler: Reconciler, outbox: Store, store: Store, run: str
):
    assert run not in {closed.run for closed in await reconciler.sweep()}
    patient = Reconciler(temporal, outbox, PostgresRuns(store), settling=NOW, missing=NOW)
    [closed] = [c for c in await patient.sweep() if c.run == run]
    assert "never started" in closed.reason


async def test_a_young_run_is_left_alone(temporal: Client, outbox: Store, store: Store, run: str):
    careful = Reconciler(temporal, outbox, PostgresRuns(store), missing=NOW)
    assert run not in {closed.run for closed in await careful.sweep()}
