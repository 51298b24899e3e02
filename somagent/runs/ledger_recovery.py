"""Ledger recovery: settles effects from the Temporal history after the database lost their outcome.

The ledger records an outcome before Temporal does. So an activity that is completed in the history and open in the
ledger means that the database lost its last commits, for example by a failover to a replica that lagged behind. Such an
effect is settled with its real usage when the run is closed. An open effect that the history does not show as completed
may have happened, and counts with its whole reservation.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import structlog
from temporalio.api.common.v1 import Payloads
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from capsules.actions.ledger_messages import AttemptKey, FinishEffect, Ledger
from capsules.actions.verdict import Outcome
from capsules.errors import SomaError, Unavailable
from somagent.db.database import Database
from somagent.db.gate.effects import open_effects

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class LedgerRecovery:
    """Settles the open effects of runs that have ended."""

    client: Client
    db: Database
    ledger: Ledger

    async def settle(self, tenant: str, run: str) -> int:
        """Settle the effects of a run that its history shows as completed, and return their number.

        Raises Unavailable when Temporal or the database cannot be reached.
        """
        waiting: dict[str, dict[str, AttemptKey]] = {}
        for key in await open_effects(self.db, tenant, run):
            waiting.setdefault(key.execution, {})[key.activity] = key
        settled = 0
        for execution, keys in waiting.items():
            async for activity, outcome in self._completed(run, execution, keys):
                settled += await self._finish(keys[activity], outcome)
        return settled

    async def _finish(self, key: AttemptKey, outcome: Outcome[Any]) -> bool:
        finish = FinishEffect(key=key, ok=True, usage=outcome.usage, estimated=outcome.estimated, result=outcome.value)
        try:
            await self.ledger.finish(finish)
        except Unavailable:
            raise
        except SomaError as error:
            log.exception(
                "ledger_recovery.refused", run=key.run, activity=key.activity, code=error.code, problem=error.message
            )
            return False
        log.warning("ledger_recovery.settled", run=key.run, activity=key.activity, usage=outcome.usage.model_dump())
        return True

    async def _completed(
        self, run: str, execution: str, wanted: dict[str, AttemptKey]
    ) -> AsyncIterator[tuple[str, Outcome[Any]]]:
        """Yield the outcomes of the `wanted` activities that the history of an execution has."""
        names: dict[int, str] = {}
        try:
            async for event in self.client.get_workflow_handle(run, run_id=execution).fetch_history_events():
                if event.HasField("activity_task_scheduled_event_attributes"):
                    names[event.event_id] = event.activity_task_scheduled_event_attributes.activity_id
                elif event.HasField("activity_task_completed_event_attributes"):
                    done = event.activity_task_completed_event_attributes
                    name = names.get(done.scheduled_event_id, "")
                    outcome = await self._outcome(run, name, done.result) if name in wanted else None
                    if outcome is not None:
                        yield name, outcome
        except RPCError as error:
            # Temporal keeps a history for a limited time; without one, whole reservations count.
            if error.status not in {RPCStatusCode.NOT_FOUND, RPCStatusCode.INVALID_ARGUMENT}:
                raise Unavailable(
                    f"Temporal cannot show the history of run {run!r}: {error.message}", run=run
                ) from error

    async def _outcome(self, run: str, activity: str, result: Payloads) -> Outcome[Any] | None:
        """Return the decoded result of an activity; None when it cannot be decoded: the run is closed anyway."""
        try:
            [outcome] = await self.client.data_converter.decode(result.payloads, [Outcome[Any]])
        except (SomaError, ValueError, TypeError, KeyError, RuntimeError) as error:
            log.exception("ledger_recovery.unreadable", run=run, activity=activity, problem=str(error))
            return None
        return outcome if isinstance(outcome, Outcome) else None
