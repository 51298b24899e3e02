"""Task queues, with the activities and workflows of each. Queues differ by trust and by resource."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from workers.assembly import Assembly
from workflows.authority_interceptor import PLATFORM_WORKFLOWS, WORKFLOWS
from workflows.options import CAPSULES, MEMORY, PLATFORM, SLM, TOOLS


@dataclass(frozen=True)
class Queue:
    """The activities and workflows of one queue; `at_once` activities run at a time."""

    name: str
    activities: Sequence[Callable[..., Any]] = ()
    workflows: Sequence[type] = ()
    at_once: int = 20


def queues(assembly: Assembly) -> dict[str, Queue]:
    """Return the queues that the assembly can serve, by name. Only `tools` uses Docker."""
    a = assembly
    run, approvals = a.run_state, a.approvals
    steps = a.constitutions
    listed = (
        Queue(CAPSULES, workflows=WORKFLOWS),
        *([Queue(SLM, (a.models.chat, a.memory.embed), at_once=4)] if a.models else []),
        Queue(MEMORY, (a.memory.remember, a.memory.recall), at_once=8),
        Queue(TOOLS, (a.tools.invoke,), at_once=a.sandbox.at_once),
        Queue(
            PLATFORM,
            (
                a.admission.start,
                a.artifacts.publish,
                run.record,
                run.close,
                approvals.approve,
                approvals.deny,
                approvals.edit,
                approvals.escalate,
                approvals.expire,
                run.account,
                approvals.raise_budget,
                run.verify,
                steps.examine,
                steps.prove,
                steps.compare,
                steps.record_vote,
                steps.activate,
                steps.mirror,
                steps.conclude,
            ),
            workflows=tuple(PLATFORM_WORKFLOWS),
        ),
    )
    return {queue.name: queue for queue in listed}
