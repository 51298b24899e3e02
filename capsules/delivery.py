"""Deliveries: what became of telling people of an event."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

State = Literal["waiting", "sent", "dead"]


class Delivery(BaseModel):
    """One event by one channel."""

    model_config = ConfigDict(frozen=True)

    event: int
    channel: str
    state: State = Field(description="dead: tried as often as it is, or refused for good.")
    attempts: int
    due_at: datetime = Field(description="waiting: when it is tried next.")
    said: str = Field(description="What the other side said last, or why it could not be reached.")
    created_at: datetime
    ended_at: datetime | None = None
