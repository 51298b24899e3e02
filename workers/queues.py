"""Which activities and workflows each task queue serves: queues by trust and by resource."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from workers.assembly import Assembly
from workflows.options import CAPSULES, MEMORY, PLATFORM, SLM, TOOLS
from workflows.registry import PLATFORM_WORKFLOWS, WORKFLOWS


@dataclass(frozen=True)
class Queue:
    """What one queue serves, and how much of it at once."""

    name: str
    activities: Sequence[Callable[..., Any]] = ()
    workflows: Sequence[type] = ()
    at_once: int = 20


def queues(assembly: Assembly) -> dict[str, Queue]:
    """Return every queue by name. `tools` is the only one that talks to Docker."""
    a = assembly
    books = a.bookkeeping
    steps = a.constituting
    listed = (
        Queue(CAPSULES, workflows=WORKFLOWS),
        Queue(SLM, (a.thinking.chat, a.remembering.embed), at_once=4),
        Queue(MEMORY, (a.remembering.remember, a.remembering.recall), at_once=8),
        Queue(TOOLS, (a.tools.invoke,), at_once=a.sandbox.at_once),
        Queue(
            PLATFORM,
            (
                a.starting.start,
                a.publishing.publish,
                books.record,
                books.close,
                books.approve,
                books.deny,
                books.edit,
                books.escalate,
                books.expire,
                books.account,
                books.raise_budget,
                books.verify,
                steps.examine,
                steps.prove,
                steps.compare,
                steps.record_vote,
                steps.activate,
                steps.mirror,
                steps.conclude,
            ),
            workflows=PLATFORM_WORKFLOWS,
        ),
    )
    return {queue.name: queue for queue in listed}
