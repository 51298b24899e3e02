"""Run lifecycle: admission, wall clock, deliverable, memory and closing, common to every capsule type."""

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError

from activities.admission import AdmissionActivities
from activities.artifacts import ArtifactActivities
from activities.memory import MemoryActivities
from activities.run_state import RunStateActivities
from capsules.capsule import Spec
from capsules.digest import Digest, canonical, digest
from capsules.errors import NotFound, SomaError
from capsules.expressions import fill_template
from capsules.memory.items import RecallQuery, Remember
from capsules.runs.run import (
    Admission,
    ArtifactDraft,
    CloseRun,
    CloseRunResult,
    RunReport,
    RunStart,
    RunStatus,
    StartCapsule,
    Verify,
)
from policy.temporal_errors import from_failure
from workflows.effects import GovernedEffects, RunFailed
from workflows.options import ADMISSION, EVENT_BUDGET, MEMORY_CALL, PUBLICATION, platform_activity
from workflows.search_attributes import describe, upsert_admission, upsert_status


class Run(GovernedEffects):
    """Base of `RunCapsule` and `RunProject`, which add the work between admission and deliverable."""

    def __init__(self, start: RunStart) -> None:
        super().__init__(start)
        self.output: Any = None
        self.artifact: Digest | None = None
        self.closed: CloseRunResult | None = None

    @property
    def admission(self) -> Admission:
        if self.state.admission is None:
            raise RunFailed("The run was not admitted.")
        return self.state.admission

    @property
    def spec(self) -> Spec:
        return self.admission.lock.capsule.spec

    @asynccontextmanager
    async def lifecycle(self) -> AsyncIterator[None]:
        """Close the run in every case: settle its account, update its row, record the reason."""
        self._working = asyncio.current_task()
        try:
            yield
            await self._close("completed")
        except workflow.ContinueAsNewError:
            raise
        except asyncio.CancelledError:
            await self._close("cancelled", self.state.reason or "cancelled")
            if not self.state.cancel_requested:
                raise
        except TimeoutError as error:
            raise await self._fail(f"The wall clock budget of {self.spec.budget.wall_clock} s is spent.") from error
        except SomaError as error:
            raise await self._fail(error.message) from error
        except ApplicationError as error:
            raise await self._fail(error.message) from error
        except Exception as error:
            # A bug. Otherwise Temporal would retry the workflow task for ever, and nobody would see why.
            raise await self._fail(f"{type(error).__name__}: {error}") from error

    async def admit(self) -> None:
        """Perform `capsule.start`. A continued run was admitted before. Raises as `act` does."""
        if self.state.admission is not None:
            return
        start = self.start
        request = StartCapsule(
            capsule=start.capsule,
            digest=start.digest,
            inputs=digest(start.inputs),
            input_length=len(canonical(start.inputs).decode()),
            budget=start.budget,
            parent=start.parent,
        )
        admitted = await self.act(AdmissionActivities.start, request, ADMISSION, f"start {start.capsule}")
        self.state.admission = admitted.value
        self.state.left = admitted.value.limit
        self.state.started_at = workflow.time()
        upsert_admission(start, admitted.value.lock.capsule, admitted.value.lock.constitution)
        await self.set_status("running")

    @asynccontextmanager
    async def wall_clock(self) -> AsyncIterator[None]:
        """Raise TimeoutError when the capsule's wall clock budget is spent. Waiting for people does not count."""
        started = self.state.started_at or workflow.time()
        ends = started + self.state.waited + self.spec.budget.wall_clock
        async with asyncio.timeout(max(0.0, ends - workflow.time())) as self.clock:
            yield

    async def recall(self) -> list[str]:
        """Return the texts of memories that match, if the capsule recalls any."""
        memory = self.spec.memory
        if memory.recall is None:
            return []
        template = memory.recall.query
        asked = str(fill_template(template, {"inputs": self.start.inputs})) if template else self.spec.intent
        query = RecallQuery(space=memory.space, query=asked[:4000], limit=memory.recall.limit)
        recalled = await self.try_act(MemoryActivities.recall, query, MEMORY_CALL, f"recall {memory.space}")
        return [] if isinstance(recalled, SomaError) else [item.text for item in recalled.value.items]

    async def verify(self, output: Any) -> tuple[str, ...]:  # noqa: ANN401 - any JSON value
        """Return the reasons why `output` is not an acceptable deliverable; empty when it is."""
        deliverable = self.spec.deliverable
        # Inputs can be large: send them only when a condition reads them.
        reads_inputs = any("inputs" in condition for condition in deliverable.accept)
        verification = await platform_activity(
            RunStateActivities.verify,
            Verify(output=output, inputs=self.start.inputs if reads_inputs else {}),
            summary="verify deliverable",
        )
        return verification.problems

    async def hand_over(self, output: Any) -> None:  # noqa: ANN401 - any JSON value
        """Publish the deliverable and store the memory of it. Raises as `act` does."""
        draft = ArtifactDraft(name=f"{self.admission.lock.capsule.metadata.name}.json", content=output)
        published = await self.act(ArtifactActivities.publish, draft, PUBLICATION, f"publish {draft.name}")
        self.output, self.artifact = output, published.value.digest
        await self._remember(output)

    async def continue_as_new_if_due(self) -> None:
        """Continue as new if the history has grown long, when no handler is running."""
        info = workflow.info()
        if not (info.is_continue_as_new_suggested() or info.get_current_history_length() > EVENT_BUDGET):
            return
        await workflow.wait_condition(workflow.all_handlers_finished)
        workflow.continue_as_new(self.start.model_copy(update={"carried": self.state}))

    def report(self) -> RunReport:
        """Return the result of the run."""
        return RunReport(
            run=workflow.info().workflow_id,
            status=self.state.status,
            reason=self.state.reason,
            output=self.output,
            artifact=self.artifact,
            spent=self.closed.spent if self.closed else self.state.spent,
            steps=self.state.step,
            receipts=self.closed.receipts if self.closed else 0,
            head=self.closed.head if self.closed else None,
        )

    async def _remember(self, output: Any) -> None:  # noqa: ANN401 - any JSON value
        memory = self.spec.memory
        if memory.remember == "nothing":
            return
        text = output.get("summary") if memory.remember == "summary" and isinstance(output, dict) else None
        item = Remember(
            space=memory.space,
            text=(text if isinstance(text, str) and text else canonical(output).decode())[:16_000],
            labels={"capsule": self.start.capsule},
        )
        await self.try_act(MemoryActivities.remember, item, MEMORY_CALL, f"remember in {memory.space}")

    async def _fail(self, reason: str) -> ApplicationError:
        """Close the run as failed and return the error to raise."""
        try:
            await self._close("failed", reason)
        except ActivityError as error:
            # A schedule's run has no row before the gate lets it start: `reason` says why it did not.
            if self.state.admission is not None or not isinstance(from_failure(error), NotFound):
                raise
        return ApplicationError(reason, self.report(), type=RunFailed.code, non_retryable=True)

    def _work_seconds(self) -> int:
        """Return the seconds since admission, without the time of waiting for people."""
        if self.state.started_at is None:
            return 0
        return math.ceil(max(0.0, workflow.time() - self.state.started_at - self.state.waited))

    async def _close(self, status: RunStatus, reason: str = "") -> None:
        """Close the run in the database, retrying until it is written, so that its budget always returns."""
        self.state.reason = reason[:2000]
        self.closed = await platform_activity(
            RunStateActivities.close,
            CloseRun(
                run=workflow.info().workflow_id,
                tenant=self.start.tenant,
                status=status,
                reason=self.state.reason,
                step=self.state.step,
                output=self.output,
                artifact=self.artifact,
                seconds=self._work_seconds(),
            ),
            summary=f"close: {status}",
        )
        self.state.status = status
        upsert_status(self.state)
        describe(self.state)
        await workflow.wait_condition(workflow.all_handlers_finished)
