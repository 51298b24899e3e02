"""Run reconciler of a governed application: closes the runs whose workflows have ended.

The application's workflow cannot close its run, so each worker does. Closing writes the run's last receipt and returns
its budget.
"""

import asyncio
from dataclasses import dataclass

import structlog
from temporalio.client import Client, WorkflowExecutionStatus

from capsules.errors import SomaError
from capsules.governance.application import Application, Enrolment
from capsules.runs.run import CloseRun, RunStatus
from somagent.db.database import Database
from somagent.db.gate.run_projection import PostgresRuns
from somagent.runs.run_reconciler import UNCLOSED, close_or_log, describe_workflow

PAGE = 100
EVERY_SECONDS = 15.0
log = structlog.get_logger(__name__)

ENDED = {**UNCLOSED, WorkflowExecutionStatus.COMPLETED: ("completed", "")}
REPLACED: tuple[RunStatus, str] = (
    "completed",
    "It ended; another execution has its workflow id, so its final status is not known.",
)
UNKNOWN: tuple[RunStatus, str] = ("failed", "Temporal knows no such workflow any more.")


@dataclass(frozen=True)
class ApplicationRunReconciler:
    """Closes the runs of one application whose workflows have ended."""

    application: Application
    db: Database
    client: Client

    async def run(self) -> None:
        """Check one page of open runs every `EVERY_SECONDS`, for ever. An error is logged and does not end the loop."""
        after = ""
        while True:
            await asyncio.sleep(EVERY_SECONDS)
            try:
                _, after = await self.sweep_page(after)
            except SomaError as error:
                log.warning(
                    "run_reconciler.interrupted",
                    application=self.application.ref,
                    code=error.code,
                    problem=error.message,
                )

    async def sweep(self) -> list[CloseRun]:
        """Check every open run once; return the closed ones."""
        closed, after = await self.sweep_page("")
        while after:
            more, after = await self.sweep_page(after)
            closed += more
        return closed

    async def sweep_page(self, after: str) -> tuple[list[CloseRun], str]:
        """Check the page of open runs after this one; return the closed ones, and where the next page begins."""
        closed: list[CloseRun] = []
        async with self.db.transaction(self.application.tenant) as tx:
            page = await tx.applications.list_open(self.application.name, after, PAGE)
        for run in page:
            closing = await self._plan_close(run)
            if closing and await close_or_log(closing, PostgresRuns(self.db).close(closing)):
                closed.append(closing)
        return closed, page[-1].run if len(page) == PAGE else ""

    async def _plan_close(self, run: Enrolment) -> CloseRun | None:
        # Another worker of the application may serve another namespace; this client knows only its own.
        ending = await self._find_ending(run) if run.namespace == self.client.namespace else None
        if ending is None:
            return None
        async with self.db.transaction(self.application.tenant) as tx:
            # A child that goes on without its parent still spends from its account.
            if await tx.applications.has_open_children(run.run):
                return None
        status, reason = ending
        return CloseRun(run=run.run, tenant=self.application.tenant, status=status, reason=reason)

    async def _find_ending(self, run: Enrolment) -> tuple[RunStatus, str] | None:
        description = await describe_workflow(self.client, run.workflow_id)
        if description is None:
            return UNKNOWN
        if description.raw_description.workflow_execution_info.first_run_id not in {"", run.first_run_id}:
            return REPLACED
        return ENDED.get(description.status) if description.status else None
