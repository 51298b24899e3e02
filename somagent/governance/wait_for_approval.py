"""Waiting for a person inside a workflow that is not ours: `await approved(lambda: workflow.execute_activity(…))`.

Without it the activity itself is retried until the approval is decided. With it the workflow waits, so that it can show
what it waits for, do something else meanwhile, and look at once when the signal `approval_decided` arrives.
"""

import contextlib
from collections.abc import Awaitable, Callable
from datetime import timedelta

from temporalio import workflow
from temporalio.exceptions import ActivityError

from capsules.actions.headers import waiting
from capsules.approvals.approval import ApprovalRequest
from capsules.errors import ApprovalRequired
from policy.temporal_errors import from_failure

SIGNAL = "approval_decided"
"""Carries the approval's id. It only wakes: what was decided is read from the store, by the gate."""

MINUTE = timedelta(minutes=1)


class ApprovalSignals:
    """The ids that the signal brought to one workflow."""

    def __init__(self) -> None:
        self.approvals: set[str] = set()

    def note(self, approval: str) -> None:
        self.approvals.add(approval)

    async def about(self, approval: str, *, timeout: timedelta) -> None:  # noqa: ASYNC109 - of the workflow's clock
        """Return when the signal names this approval, or when it is time to look without it."""
        with contextlib.suppress(TimeoutError):
            await workflow.wait_condition(lambda: approval in self.approvals, timeout=timeout)
        self.approvals.discard(approval)


async def approved[T](ask: Callable[[], Awaitable[T]], *, look_every: timedelta = MINUTE) -> T:
    """Ask for an activity and, when a person must approve it, wait for that and ask again.

    ask: starts the activity anew each time, with the same arguments; another argument is another action.
    Raises ActivityError: its cause is of type `PolicyDenied` when a person said no, `ApprovalRequired` when nobody
    decided in time.
    """
    woken = _woken()
    approval = ""
    while True:
        try:
            with waiting(approval):
                return await ask()
        except ActivityError as error:
            request = asked_for(error)
            if request is None or request.expires_at <= workflow.now():
                raise
        approval = request.id
        left = request.expires_at - workflow.now() + timedelta(seconds=1)
        await woken.about(approval, timeout=min(look_every, left))


def asked_for(error: ActivityError) -> ApprovalRequest | None:
    """Return the approval that an activity failed for, or None when it failed for something else."""
    found = from_failure(error)
    if not isinstance(found, ApprovalRequired) or "approval" not in found.fields:
        return None
    return ApprovalRequest.model_validate(found.fields["approval"])


def _woken() -> ApprovalSignals:
    """Return what this workflow was told, registering the handler on the first call."""
    handler = workflow.get_signal_handler(SIGNAL)
    known = getattr(handler, "__self__", None)
    if isinstance(known, ApprovalSignals):
        return known
    if handler is not None:
        raise ValueError(f"The workflow has its own handler of the signal {SIGNAL!r}; rename it to use `approved`.")
    woken = ApprovalSignals()
    workflow.set_signal_handler(SIGNAL, woken.note)
    return woken
