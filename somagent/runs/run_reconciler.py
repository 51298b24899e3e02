"""Run reconciler: closes runs whose workflow ended in Temporal without closing them.

A workflow closes its own run. A workflow that is terminated or times out cannot, and its budget would stay reserved for
ever. So the reconciler looks up each open run in Temporal, and closes the run when the workflow has ended.
"""

from collections.abc import Awaitable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import structlog
from sqlalchemy import select, tuple_
from temporalio.client import Client, WorkflowExecutionDescription, WorkflowExecutionStatus, WorkflowFailureError
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from capsules.errors import SomaError, Unavailable
from capsules.runs.run import CloseRun, Runs, RunStatus
from somagent.db.database import Database
from somagent.db.errors import translate_errors
from somagent.db.repositories.applications import is_application_run
from somagent.db.schema.tables import runs
from somagent.runs.ledger_recovery import LedgerRecovery

PAGE = 200
log = structlog.get_logger(__name__)
MINIMUM_AGE = timedelta(seconds=10)
"""Age from which a run is checked: the API writes the row before it starts the workflow."""
ABANDONED_AGE = timedelta(minutes=10)
"""Time without a change after which a run without a workflow is closed: its start failed and was not retried."""

UNCLOSED: dict[WorkflowExecutionStatus, tuple[RunStatus, str]] = {
    WorkflowExecutionStatus.TERMINATED: ("failed", "The workflow was terminated in Temporal."),
    WorkflowExecutionStatus.TIMED_OUT: ("failed", "The workflow timed out in Temporal."),
    WorkflowExecutionStatus.FAILED: ("failed", "The workflow failed in Temporal."),
    WorkflowExecutionStatus.CANCELED: ("cancelled", "The workflow was cancelled in Temporal."),
    # Closing is idempotent: a run that its workflow closed meanwhile is not changed.
    WorkflowExecutionStatus.COMPLETED: ("failed", "The workflow ended without closing its run."),
}
"""Status and reason of a run whose workflow ended in Temporal and left the run open."""
UNKNOWN: tuple[RunStatus, str] = ("failed", "Temporal knows no workflow of this run: it was never started.")


@dataclass(frozen=True)
class OpenRun:
    """A run that is open in the projection."""

    tenant: str
    id: str
    updated_at: datetime


@dataclass
class RunReconciler:
    """Checks the open runs of all tenants, one page in each sweep, and starts again after the last page."""

    client: Client
    outbox: Database
    """Opened under the relay's role, which sees the runs of all tenants."""
    runs: Runs
    recovery: LedgerRecovery
    minimum_age: timedelta = MINIMUM_AGE
    abandoned_age: timedelta = ABANDONED_AGE
    _after: tuple[str, str] = field(default=("", ""), init=False)

    async def sweep(self) -> list[CloseRun]:
        """Check the next page of open runs and return the closed ones. Raises Unavailable."""
        page = await self._page()
        self._after = (page[-1].tenant, page[-1].id) if len(page) == PAGE else ("", "")
        closed = []
        for run in page:
            if ending := await self._find_ending(run):
                status, reason = ending
                closing = CloseRun(run=run.id, tenant=run.tenant, status=status, reason=reason)
                if await close_or_log(closing, self._close(closing)):
                    closed.append(closing)
        return closed

    async def _close(self, closing: CloseRun) -> None:
        await self.recovery.settle(closing.tenant, closing.run)
        await self.runs.close(closing)

    async def _page(self) -> list[OpenRun]:
        key = tuple_(runs.c.tenant_id, runs.c.id)
        query = (
            select(runs.c.tenant_id, runs.c.id, runs.c.updated_at)
            .where(runs.c.closed_at.is_(None) & (key > tuple_(*self._after)))
            .where(runs.c.created_at < datetime.now(UTC) - self.minimum_age)
            .where(~is_application_run())  # the plugin in an application closes those
            .order_by(runs.c.tenant_id, runs.c.id)
            .limit(PAGE)
        )
        async with translate_errors(), self.outbox.engine.connect() as connection:
            return [OpenRun(row.tenant_id, row.id, row.updated_at) for row in await connection.execute(query)]

    async def _find_ending(self, run: OpenRun) -> tuple[RunStatus, str] | None:
        description = await describe_workflow(self.client, run.id)
        if description is None:
            return UNKNOWN if run.updated_at < datetime.now(UTC) - self.abandoned_age else None
        ending = UNCLOSED.get(description.status) if description.status else None
        if ending and description.status is WorkflowExecutionStatus.FAILED:
            # Such as a result that was not authentic: the workflow could not close itself.
            return ending[0], f"{ending[1]} {await failure_of(self.client, run.id)}".strip()
        return ending


async def describe_workflow(client: Client, workflow: str) -> WorkflowExecutionDescription | None:
    """Return the description of a workflow; None when Temporal does not know it. Raises Unavailable."""
    try:
        return await client.get_workflow_handle(workflow).describe()
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return None
        raise Unavailable(f"Temporal cannot describe workflow {workflow!r}: {error.message}") from error


async def failure_of(client: Client, workflow: str) -> str:
    """Return why a workflow failed; empty when Temporal does not say. Raises Unavailable."""
    try:
        await client.get_workflow_handle(workflow).result(rpc_timeout=timedelta(seconds=5))
    except WorkflowFailureError as error:
        return error.cause.message if isinstance(error.cause, ApplicationError) else ""
    except RPCError as error:
        raise Unavailable(f"Temporal cannot say why {workflow!r} failed: {error.message}") from error
    return ""


async def close_or_log(closing: CloseRun, work: Awaitable[object]) -> bool:
    """Wait for the work that closes a run. Log a refusal of the database and return False. Raises Unavailable."""
    try:
        await work
    except Unavailable:
        raise
    except SomaError as error:
        log.exception("run_reconciler.refused", run=closing.run, code=error.code, problem=error.message)
        return False
    return True
