"""Registry of activity types: the governed ones, each with its action function, and the platform's list."""

from collections.abc import Callable, Mapping
from typing import Any

from activities.admission import start_action
from activities.artifacts import publish_action
from activities.memory import embed_action, locked_memory, locked_query, recall_action, remember_action
from activities.model_calls import chat_action, locked_request
from activities.tools import locked_call, tool_action
from capsules.actions.action import Action
from capsules.constitutions.proposal import STEPS
from capsules.runs.lock import Lock

GOVERNED: tuple[tuple[str, Callable[[Any], Action]], ...] = (
    ("capsule.start", start_action),
    ("slm.chat", chat_action),
    ("slm.embed", embed_action),
    ("memory.remember", remember_action),
    ("memory.recall", recall_action),
    ("tool.invoke", tool_action),
    ("artifact.publish", publish_action),
)

LOCKED: Mapping[str, Callable[[Any, Lock | None], Any]] = {
    "capsule.start": lambda request, _: request,  # compared with the parent's lock by `StartClaims`
    "slm.chat": locked_request,
    "memory.remember": locked_memory,
    "memory.recall": locked_query,
    "tool.invoke": locked_call,
}
"""For types whose arguments name definitions: the argument of the action function, made with the run's lock."""

PLATFORM = (
    frozenset(
        {
            "run.record",
            "run.close",
            "approval.approve",
            "approval.deny",
            "approval.edit",
            "approval.escalate",
            "approval.expire",
            "budget.account",
            "budget.raise",
            "deliverable.verify",
        }
    )
    | STEPS
)
