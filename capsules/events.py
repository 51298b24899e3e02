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
    "action.decided": "The gate evaluated an action: allow, ask or deny, with its score.",
    "start.denied": "The API denied a start, so no run was created.",
    "action.finished": "An effect ended and its cost was settled.",
    "approval.requested": "An action waits for a person.",
    "approval.decided": "A person approved or denied; carries the approvals that are still missing.",
    "approval.edited": "A person changed the arguments of an action; the gate evaluates the edited action.",
    "approval.escalated": "Nobody decided in time; the next group can decide too.",
    "approval.expired": "Nobody decided in time; this counts as a denial.",
    "delegation.given": "A principal lent a capability to another one, for approvals.",
    "delegation.revoked": "A delegation was revoked.",
    "grant.given": "A standing grant was created: an approval in advance.",
    "grant.used": "An action began under a standing grant; carries the uses that are left.",
    "grant.revoked": "A standing grant was revoked.",
    "grant.proved": "A standing grant was proved again, under the constitution in force.",
    "budget.requested": "A run waits for a raise of its budget.",
    "budget.raised": "A run's limit was raised.",
    "budget.pressure": "A run has spent 50, 80 or 100 per cent of a limit; once for each threshold and dimension.",
    "constitution.proposed": "A proposed constitution was proved and waits for approval.",
    "constitution.updated": "The active constitution or the shadow of a scope changed.",
    "constitution.revoked": "A constitution was revoked; a run that is pinned to it stops at its next action.",
    "capsule.published": "A capsule version was published.",
    "token": "A piece of a model's reply; sent live and not stored.",
}
"""Every event type and what it means; the documentation test reads it."""

DeliveryState = Literal["waiting", "sent", "dead"]


class Delivery(FrozenModel):
    """One event by one channel."""

    event: int
    channel: str
    state: DeliveryState = Field(description="dead: all attempts failed, or it was refused permanently.")
    attempts: int
    due_at: datetime = Field(description="waiting: when it is tried next.")
    said: str = Field(description="The last answer of the channel, or why it could not be reached.")
    created_at: datetime
    ended_at: datetime | None = None
