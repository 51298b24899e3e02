"""Runs that ended in Temporal without closing themselves: terminated, timed out, failed before their last activity.

A workflow closes its run itself. When it is stopped from outside it cannot; its budget would stay held for ever. So
each run that the projection believes open is described in Temporal, and closed here when it has ended there.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import structlog
from sqlalchemy import select, tuple_
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

from capsules.errors import SomaError, Unavailable
from capsules.runs.run import CloseRun, Runs, RunStatus
from somagent.db.database import Store
from somagent.db.errors import translated
from somagent.db.repositories.applications import is_application_run
from somagent.db.schema.tables import runs
from somagent.runs.ledger_recovery import LedgerRecovery

PAGE = 200
log = structlog.get_logger(__name__)
SETTLING = timedelta(seconds=10)
"""A run younger than this is left alone: the API enters its row before it starts its workflow."""
MISSING = timedelta(minutes=10)
"""A run that Temporal does not know is closed after this: its start was cut off and not tried again."""

ENDED: dict[WorkflowExecutionStatus, tuple[RunStatus, str]] = {
    WorkflowExecutionStatus.TERMINATED: ("failed", "The workflow was terminated in Temporal."),
    WorkflowExecutionStatus.TIMED_OUT: ("failed", "The workflow timed out in Temporal."),
    WorkflowExecutionStatus.FAILED: ("failed", "The workflow failed before it could close its run."),
    WorkflowExecutionStatus.CANCELED: ("cancelled", "The workflow was cancelled in Temporal."),
    # Closing is idempotent: a run that closed itself between our two looks stays as it is.
    WorkflowExecutionStatus.COMPLETED: ("failed", "The workflow ended without closing its run."),
}
UNKNOWN: tuple[RunStatus, str] = ("failed", "Temporal knows no workflow of this run: it was never started.")


@dataclass(frozen=True)
class OpenRun:
    tenant: str
    id: str
    touched: datetime


@dataclass
class RunReconciler:
    """Goes through the open runs page by page, a page a sweep, and begins again at the end."""

    client: Client
    outbox: Store
    """Opened as the relay's role, which sees every tenant's runs."""
    runs: Runs
    reaper: LedgerRecovery
    settling: timedelta = SETTLING
    missing: timedelta = MISSING
    _after: tuple[str, str] = field(default=("", ""), init=False)

    async def sweep(self) -> list[CloseRun]:
        """Look at the next page of open runs; return what was closed. Raises Unavailable when a server is gone."""
        page = await self._page()
        self._after = (page[-1].tenant, page[-1].id) if len(page) == PAGE else ("", "")
        closed = []
        for run in page:
            if ending := await self._ending(run):
                status, reason = ending
                closing = CloseRun(run=run.id, tenant=run.tenant, status=status, reason=reason)
                if await self._close(closing):
                    closed.append(closing)
        return closed

    async def _close(self, closing: CloseRun) -> bool:
        """Settle what the history knows and close the run.

        One that the database refuses to close is told of and must not hold up the others.
        """
        try:
            await self.reaper.settle(closing.tenant, closing.run)
            await self.runs.close(closing)
        except Unavailable:
            raise
        except SomaError as error:
            log.exception("reconcile.refused", run=closing.run, code=error.code, problem=error.message)
            return False
        return True

    async def _page(self) -> list[OpenRun]:
        key = tuple_(runs.c.tenant_id, runs.c.id)
        query = (
            select(runs.c.tenant_id, runs.c.id, runs.c.updated_at)
            .where(runs.c.closed_at.is_(None) & (key > tuple_(*self._after)))
            .where(runs.c.created_at < datetime.now(UTC) - self.settling)
            .where(~is_application_run())  # an application's workers see to theirs; its Temporal may be another
            .order_by(runs.c.tenant_id, runs.c.id)
            .limit(PAGE)
        )
        async with translated(), self.outbox.engine.connect() as connection:
            return [OpenRun(row.tenant_id, row.id, row.updated_at) for row in await connection.execute(query)]

    async def _ending(self, run: OpenRun) -> tuple[RunStatus, str] | None:
        try:
            description = await self.client.get_workflow_handle(run.id).describe()
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise Unavailable(f"Temporal cannot describe run {run.id!r}: {error.message}", run=run.id) from error
            return UNKNOWN if run.touched < datetime.now(UTC) - self.missing else None
        return ENDED.get(description.status) if description.status else None
