"""Wait for an approval inside a workflow: `execute_with_approval`.

    receipt = await execute_with_approval(lambda: workflow.execute_activity(…))

Without it Temporal retries the activity until the approval is decided. With it the workflow waits. So the workflow can
show what it waits for, work in the meantime, and try again at once when the signal `approval_decided` arrives.
"""

import contextlib
from collections.abc import Awaitable, Callable
from datetime import timedelta

from temporalio import workflow
from temporalio.exceptions import ActivityError

from capsules.actions.headers import set_current_approval
from capsules.approvals.approval import ApprovalRequest
from capsules.errors import ApprovalRequired
from policy.temporal_errors import from_failure

SIGNAL = "approval_decided"
"""Carries the approval's id. It only wakes the workflow: the gate reads the decision from the database."""

MINUTE = timedelta(minutes=1)


class ApprovalSignals:
    """Ids of the approvals that signals have named to one workflow."""

    def __init__(self) -> None:
        self._approvals: set[str] = set()

    def add(self, approval: str) -> None:
        self._approvals.add(approval)

    async def wait(self, approval: str, *, timeout: timedelta) -> None:  # noqa: ASYNC109 - measured by the workflow's clock
        """Return when a signal names this approval, at the latest after `timeout`."""
        with contextlib.suppress(TimeoutError):
            await workflow.wait_condition(lambda: approval in self._approvals, timeout=timeout)
        self._approvals.discard(approval)


async def execute_with_approval[T](execute: Callable[[], Awaitable[T]], *, retry_interval: timedelta = MINUTE) -> T:
    """Run an activity; when a person must approve it, wait for the decision and run it again. Return its result.

    execute: starts the activity, each time with the same arguments. Other arguments are another action.
    retry_interval: longest time between two attempts when no signal arrives.
    Raises ActivityError: its cause is of type `PolicyDenied` when a person said no, `ApprovalRequired` when nobody
    decided in time.
    """
    signals = _approval_signals()
    approval = ""
    while True:
        try:
            with set_current_approval(approval):
                return await execute()
        except ActivityError as error:
            request = requested_approval(error)
            if request is None or request.expires_at <= workflow.now():
                raise
        approval = request.id
        left = request.expires_at - workflow.now() + timedelta(seconds=1)
        await signals.wait(approval, timeout=min(retry_interval, left))


def requested_approval(error: ActivityError) -> ApprovalRequest | None:
    """Return the approval that an activity lacked, or None when it failed for another reason."""
    found = from_failure(error)
    if not isinstance(found, ApprovalRequired) or "approval" not in found.fields:
        return None
    return ApprovalRequest.model_validate(found.fields["approval"])


def _approval_signals() -> ApprovalSignals:
    """Return the signals of this workflow; the first call registers the handler."""
    handler = workflow.get_signal_handler(SIGNAL)
    known = getattr(handler, "__self__", None)
    if isinstance(known, ApprovalSignals):
        return known
    if handler is not None:
        raise ValueError(
            f"The workflow has its own handler of the signal {SIGNAL!r}; rename it to use `execute_with_approval`."
        )
    signals = ApprovalSignals()
    workflow.set_signal_handler(SIGNAL, signals.add)
    return signals
