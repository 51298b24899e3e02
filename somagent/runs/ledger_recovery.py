"""Settles from a run's Temporal history what its ledger never heard of.

An outcome is in the ledger before Temporal hears of it. So an activity that has completed in the history and is open in
the ledger means that the ledger lost its last commits: a failover to a copy that lagged behind, a backup. When the run
is closed, what such an effect really used counts, instead of all that was held for it. What the history does not know
to have completed may have happened, and counts whole.
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
from somagent.db.database import Store
from somagent.db.gate.effects import open_effects

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class LedgerRecovery:
    client: Client
    store: Store
    ledger: Ledger

    async def settle(self, tenant: str, run: str) -> int:
        """Settle what the history knows of a run that has ended, and return how many effects that were.

        Raises Unavailable when a server is gone.
        """
        waiting: dict[str, dict[str, AttemptKey]] = {}
        for key in await open_effects(self.store, tenant, run):
            waiting.setdefault(key.execution, {})[key.activity] = key
        settled = 0
        for execution, keys in waiting.items():
            async for activity, outcome in self._completed(run, execution, keys):
                settled += await self._finish(keys[activity], outcome)
        return settled

    async def _finish(self, key: AttemptKey, outcome: Outcome[Any]) -> bool:
        exit_ = FinishEffect(key=key, ok=True, usage=outcome.usage, estimated=outcome.estimated, result=outcome.value)
        try:
            await self.ledger.finish(exit_)
        except Unavailable:
            raise
        except SomaError as error:
            log.exception("reaper.refused", run=key.run, activity=key.activity, code=error.code, problem=error.message)
            return False
        log.warning("reaper.settled", run=key.run, activity=key.activity, usage=outcome.usage.model_dump())
        return True

    async def _completed(
        self, run: str, execution: str, wanted: dict[str, AttemptKey]
    ) -> AsyncIterator[tuple[str, Outcome[Any]]]:
        """Yield the outcomes of these activities, as far as the history of this execution has them."""
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
            # Temporal keeps a history for a time only; without one, all that is held counts.
            if error.status not in {RPCStatusCode.NOT_FOUND, RPCStatusCode.INVALID_ARGUMENT}:
                raise Unavailable(
                    f"Temporal cannot show the history of run {run!r}: {error.message}", run=run
                ) from error

    async def _outcome(self, run: str, activity: str, result: Payloads) -> Outcome[Any] | None:
        """Read what an activity returned. What cannot be read counts whole, and does not keep the run open."""
        try:
            [outcome] = await self.client.data_converter.decode(result.payloads, [Outcome[Any]])
        except (SomaError, ValueError, TypeError, KeyError, RuntimeError) as error:
            log.exception("reaper.unreadable", run=run, activity=activity, problem=str(error))
            return None
        return outcome if isinstance(outcome, Outcome) else None
