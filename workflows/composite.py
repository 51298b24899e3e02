"""RunProject: the workflow of a composite capsule. Its tasks are child runs with narrower authority, in parallel."""

import asyncio
from typing import Any

from temporalio import workflow
from temporalio.common import Priority
from temporalio.exceptions import CancelledError, ChildWorkflowError

from activities.run_state import RunStateActivities
from capsules.capsule import Task
from capsules.expressions import evaluate_condition, fill_template
from capsules.runs.run import RunReport, RunStart, StepRecord
from policy.temporal_errors import reason_of
from workflows.effects import RunFailed
from workflows.options import CAPSULES, platform_activity
from workflows.run import Run
from workflows.search_attributes import describe


@workflow.defn(name="RunProject")
class RunProject(Run):
    """Runs each task when the tasks that it needs have ended. By default a failed task fails the project."""

    @workflow.init
    def __init__(self, start: RunStart) -> None:
        super().__init__(start)
        self._account_lock = asyncio.Lock()

    @workflow.run
    async def run(self, start: RunStart) -> RunReport:  # noqa: ARG002 - `@workflow.init` took it
        async with self.lifecycle():
            await self.admit()
            async with self.wall_clock():
                await self._run_tasks()
                await self.hand_over(await self._produce_deliverable())
        return self.report()

    async def _run_tasks(self) -> None:
        ended = {task.id: asyncio.Event() for task in self.spec.tasks}
        running = [asyncio.create_task(self._run_task(task, ended)) for task in self.spec.tasks]
        try:
            await asyncio.gather(*running)
        except BaseException:
            # The first failure, or a cancellation, stops the other tasks and their containers.
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
            raise

    async def _run_task(self, task: Task, ended: dict[str, asyncio.Event]) -> None:
        for need in task.needs:
            await ended[need].wait()
        await self.wait_while_paused()
        if task.when is not None and not evaluate_condition(task.when, self._variables()):
            self.state.outputs[task.id] = {"output": None, "status": "skipped", "reason": f"`{task.when}` is false"}
        else:
            self.state.outputs[task.id] = await self._run_child(task)
            # Histories older than this patch added up the reports of completed tasks and had no thresholds.
            if workflow.patched("project-account"):
                await self._update_account()
        self.state.step += 1
        record = StepRecord(id=task.id, did=f"{task.capsule}: {self.state.outputs[task.id]['status']}")
        self.state.recent = [*self.state.recent, record]
        describe(self.state)
        ended[task.id].set()

    async def _run_child(self, task: Task) -> dict[str, Any]:
        lock = self.admission.lock
        ref = lock.task_capsules[task.id]
        child = RunStart(
            tenant=self.start.tenant,
            capsule=ref,
            digest=lock.children[ref],
            inputs=fill_template(task.with_, self._variables()),
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
            if isinstance(error.cause, CancelledError) and _project_cancels_task():
                raise asyncio.CancelledError from error
            return self._failed_task_output(task, "failed", reason_of(error))
        if report.run != f"{workflow.info().workflow_id}/{task.id}":
            raise RunFailed(f"Task {task.id!r}: the report of run {report.run!r} came as its own.")
        if report.status != "completed":
            return self._failed_task_output(task, report.status, report.reason)
        self.state.spent = self.state.spent + report.spent
        return {"output": report.output, "status": report.status, "run": report.run}

    async def _update_account(self) -> None:
        """Read from the ledger what the tasks spent, and apply the rules of the thresholds that they reached.

        One task at a time. While it waits for a person, the tasks that need another finished task do not start.
        """
        async with self._account_lock:
            account = await platform_activity(RunStateActivities.account, summary="what was spent")
            # An amount that is reserved for running tasks counts as left, not as spent.
            self.state.spent, self.state.left = account.spent, account.limit.minus(account.spent)
            await self._apply_budget_rules()

    def _failed_task_output(self, task: Task, status: str, reason: str) -> dict[str, Any]:
        """Return the output of a task that did not complete. Raises RunFailed when the project needs it."""
        if task.on_failure == "fail":
            raise RunFailed(f"Task {task.id!r} {status}: {reason}")
        return {"output": None, "status": status, "reason": reason}

    async def _produce_deliverable(self) -> Any:  # noqa: ANN401 - any JSON value
        mapping = self.spec.deliverable.value
        last = self.spec.tasks[-1].id
        output = (
            fill_template(mapping, self._variables()) if mapping is not None else self.state.outputs[last]["output"]
        )
        problems = await self.verify(output)
        if problems:
            raise RunFailed(f"The deliverable is not acceptable: {'; '.join(problems)}")
        return output

    def _variables(self) -> dict[str, Any]:
        return {"inputs": self.start.inputs, "tasks": self.state.outputs}


def _project_cancels_task() -> bool:
    """Return whether the project cancels this task. False: somebody cancelled the child run alone."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
