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
from temporalio.converter import ActivitySerializationContext
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
        scheduled: dict[int, tuple[str, str]] = {}
        try:
            async for event in self.client.get_workflow_handle(run, run_id=execution).fetch_history_events():
                if event.HasField("activity_task_scheduled_event_attributes"):
                    asked = event.activity_task_scheduled_event_attributes
                    scheduled[event.event_id] = asked.activity_id, asked.activity_type.name
                elif event.HasField("activity_task_completed_event_attributes"):
                    done = event.activity_task_completed_event_attributes
                    name, kind = scheduled.get(done.scheduled_event_id, ("", ""))
                    outcome = await self._outcome(wanted[name], kind, done.result) if name in wanted else None
                    if outcome is not None:
                        yield name, outcome
        except RPCError as error:
            # Temporal keeps a history for a limited time; without one, whole reservations count.
            if error.status not in {RPCStatusCode.NOT_FOUND, RPCStatusCode.INVALID_ARGUMENT}:
                raise Unavailable(
                    f"Temporal cannot show the history of run {run!r}: {error.message}", run=run
                ) from error

    async def _outcome(self, key: AttemptKey, kind: str, result: Payloads) -> Outcome[Any] | None:
        """Return the decoded result of an activity; None when it is not authentic: the run is closed anyway."""
        run, activity = key.run, key.activity
        context = ActivitySerializationContext(
            namespace=self.client.namespace,
            activity_id=activity,
            activity_type=kind,
            activity_task_queue=None,
            workflow_id=run,
            workflow_type=None,
            is_local=False,
        )
        try:
            [outcome] = await self.client.data_converter.with_context(context).decode(result.payloads, [Outcome[Any]])
        except (SomaError, ValueError, TypeError, KeyError, RuntimeError) as error:
            log.exception("ledger_recovery.unreadable", run=run, activity=activity, problem=str(error))
            return None
        # An outcome from before effects were named has none.
        return outcome if isinstance(outcome, Outcome) and outcome.effect in {None, key.effect} else None
