"""Events: the topics and types of the outbox, and their deliveries to channels.

An event is written to the outbox in the transaction that makes it true. The relay publishes it to the bus.
"""

from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from capsules.base_model import FrozenModel

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


class Event(FrozenModel):
    """One event of a run, in the order of `id`."""

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
    "start.denied": "A start was denied at the API, before there was a run.",
    "action.finished": "An effect ended and was settled.",
    "approval.requested": "An action waits for a person.",
    "approval.decided": "A person said yes or no; carries what is still missing.",
    "approval.edited": "A person changed the arguments of an action; the gate judges the edited one.",
    "approval.escalated": "Nobody decided in time: the next group may decide too.",
    "approval.expired": "Nobody decided in time: that is a no.",
    "delegation.given": "Somebody lent a capability to another, for approvals.",
    "delegation.revoked": "A delegation was taken back.",
    "grant.given": "A standing grant was given: a yes in advance.",
    "grant.used": "A standing grant let an action begin; carries what is left of it.",
    "grant.revoked": "A standing grant was taken back.",
    "grant.proved": "A standing grant was proved anew, under the constitution now in force.",
    "budget.requested": "A run waits for a raise of its budget.",
    "budget.raised": "A run's limit was raised.",
    "budget.pressure": "A run has spent 50, 80 or 100 per cent of a limit; once for each, by dimension.",
    "constitution.proposed": "A proposed constitution is proved and waits for people.",
    "constitution.updated": "Another constitution is active, or a shadow, for everybody or for one tenant.",
    "constitution.revoked": "A constitution was revoked: what is pinned to it stops at its next action.",
    "capsule.published": "A capsule version was published.",
    "token": "A piece of a model's reply, live only: not stored.",
}
"""Every event type and what it means; the documentation test reads it."""

State = Literal["waiting", "sent", "dead"]


class Delivery(FrozenModel):
    """One event by one channel."""

    event: int
    channel: str
    state: State = Field(description="dead: tried as often as it is, or refused for good.")
    attempts: int
    due_at: datetime = Field(description="waiting: when it is tried next.")
    said: str = Field(description="What the other side said last, or why it could not be reached.")
    created_at: datetime
    ended_at: datetime | None = None
