"""Events: what others may want to know, in the past tense, by the master plan's topic names.

An event is written to the outbox in the transaction that makes it true, and leaves by the relay to the bus.
"""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Topic = Literal[
    "agent.events",
    "policy.decisions",
    "tool.events",
    "slm.responses",
    "project.events",
    "constitution.updated",
    "capsule.events",
    "approval.events",
    "budget.events",
]


class Event(BaseModel):
    """One event of a run, in the order of `id`."""

    model_config = ConfigDict(frozen=True)

    id: int = Field(description="Position in the outbox; grows within a run.")
    topic: Topic
    type: str = Field(description="`run.started`, `action.decided`, `action.finished`, `approval.requested`, …")
    tenant: str
    run: str | None = None
    at: datetime
    data: dict[str, Any] = Field(default_factory=dict)


TYPES: dict[str, str] = {
    "run.started": "A run was accepted.",
    "run.changed": "A run's status or step changed.",
    "run.closed": "A run ended; carries status, reason and spent.",
    "action.decided": "The gate judged an action: allow, ask or deny, with score.",
    "action.finished": "An effect ended and was settled.",
    "approval.requested": "An action waits for a person.",
    "approval.decided": "A person said yes or no.",
    "budget.raised": "A run's limit was raised.",
    "capsule.published": "A capsule version was published.",
    "token": "A piece of a model's reply, live only: not stored.",
}
"""Every event type and what it means; the documentation test reads it."""
