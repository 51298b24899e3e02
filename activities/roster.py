"""Every activity type there is: the governed ones with what they declare, and the platform's own list."""

from collections.abc import Callable
from typing import Any

from activities.constituting import STEPS
from activities.publishing import publish_action
from activities.remembering import embed_action, recall_action, remember_action
from activities.starting import start_action
from activities.thinking import chat_action
from activities.tools import tool_action
from capsules.action import Action

GOVERNED: tuple[tuple[str, Callable[[Any], Action]], ...] = (
    ("capsule.start", start_action),
    ("slm.chat", chat_action),
    ("slm.embed", embed_action),
    ("memory.remember", remember_action),
    ("memory.recall", recall_action),
    ("tool.invoke", tool_action),
    ("artifact.publish", publish_action),
)

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
