"""RunProject: a composite capsule. Its tasks are child runs, parallel where independent, under narrower authority."""

import asyncio
from typing import Any

from temporalio import workflow
from temporalio.common import Priority
from temporalio.exceptions import CancelledError, ChildWorkflowError

from activities.run_state import RunStateActivities
from capsules.capsule import Task
from capsules.expressions import fill, holds
from capsules.runs.run import RunReport, RunStart, StepRecord
from policy.temporal_errors import reason_of
from workflows.effects import RunEnds
from workflows.options import BOOKKEEPING, CAPSULES
from workflows.run import Run
from workflows.search_attributes import describe


@workflow.defn(name="RunProject")
class RunProject(Run):
    """Each task starts when all that it needs has ended; a failure ends the project unless the task says otherwise."""

    @workflow.init
    def __init__(self, start: RunStart) -> None:
        super().__init__(start)
        self._counting = asyncio.Lock()

    @workflow.run
    async def run(self, start: RunStart) -> RunReport:  # noqa: ARG002 - `@workflow.init` took it
        async with self.lifecycle():
            await self.admit()
            async with self.wall_clock():
                await self._tasks()
                await self.hand_over(await self._accepted())
        return self.report()

    async def _tasks(self) -> None:
        ended = {task.id: asyncio.Event() for task in self.spec.tasks}
        running = [asyncio.create_task(self._task(task, ended)) for task in self.spec.tasks]
        try:
            await asyncio.gather(*running)
        except BaseException:
            # The first failure, or a cancellation, stops the siblings; their containers stop with them.
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
            raise

    async def _task(self, task: Task, ended: dict[str, asyncio.Event]) -> None:
        for need in task.needs:
            await ended[need].wait()
        await self.wait_while_paused()
        if task.when is not None and not holds(task.when, self._variables()):
            self.state.outputs[task.id] = {"output": None, "status": "skipped", "reason": f"`{task.when}` is false"}
        else:
            self.state.outputs[task.id] = await self._child(task)
            # Projects of before counted what their completed tasks told, and knew no pressure.
            if workflow.patched("project-account"):
                await self._count()
        self.state.step += 1
        record = StepRecord(id=task.id, did=f"{task.capsule}: {self.state.outputs[task.id]['status']}")
        self.state.recent = [*self.state.recent, record]
        describe(self.state)
        ended[task.id].set()

    async def _child(self, task: Task) -> dict[str, Any]:
        lock = self.admission.lock
        ref = lock.task_capsules[task.id]
        child = RunStart(
            tenant=self.start.tenant,
            capsule=ref,
            digest=lock.children[ref],
            inputs=fill(task.with_, self._variables()),
            authority=self.authority,
            budget=task.budget.amounts() if task.budget else None,
            parent=workflow.info().workflow_id,
        )
        try:
            report = await workflow.execute_child_workflow(
                "RunProject" if ref in lock.composites else "RunCapsule",
                child,
                id=f"{workflow.info().workflow_id}/{task.id}",
                task_queue=CAPSULES,
                result_type=RunReport,
                parent_close_policy=workflow.ParentClosePolicy.REQUEST_CANCEL,
                cancellation_type=workflow.ChildWorkflowCancellationType.WAIT_CANCELLATION_COMPLETED,
                static_summary=f"{task.id}: {ref}",
                priority=Priority(fairness_key=self.start.tenant[:64]),
            )
        except ChildWorkflowError as error:
            if isinstance(error.cause, CancelledError) and _stopping():
                raise asyncio.CancelledError from error
            return self._ended_otherwise(task, "failed", reason_of(error))
        if report.status != "completed":
            return self._ended_otherwise(task, report.status, report.reason)
        self.state.spent = self.state.spent + report.spent
        return {"output": report.output, "status": report.status, "run": report.run}

    async def _count(self) -> None:
        """Learn from the ledger what the tasks spent, and do what the capsule wants done about it.

        One task after another: while a person is waited for, no task that needs one of these starts.
        """
        async with self._counting:
            account = await workflow.execute_activity_method(
                RunStateActivities.account,
                task_queue=BOOKKEEPING.queue,
                start_to_close_timeout=BOOKKEEPING.start_to_close,
                retry_policy=BOOKKEEPING.retry,
                summary="what was spent",
            )
            # What is held for tasks under way is not spent: it counts as left.
            self.state.spent, self.state.left = account.spent, account.limit.minus(account.spent)
            await self._under_pressure()

    def _ended_otherwise(self, task: Task, status: str, reason: str) -> dict[str, Any]:
        if task.on_failure == "fail":
            raise RunEnds(f"Task {task.id!r} {status}: {reason}")
        return {"output": None, "status": status, "reason": reason}

    async def _accepted(self) -> Any:  # noqa: ANN401 - any JSON value
        mapping = self.spec.deliverable.value
        last = self.spec.tasks[-1].id
        output = fill(mapping, self._variables()) if mapping is not None else self.state.outputs[last]["output"]
        problems = await self.problems_of(output)
        if problems:
            raise RunEnds(f"The deliverable is not acceptable: {'; '.join(problems)}")
        return output

    def _variables(self) -> dict[str, Any]:
        return {"inputs": self.start.inputs, "tasks": self.state.outputs}


def _stopping() -> bool:
    """Say whether the project stops this task, as opposed to somebody who cancelled the child alone."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
