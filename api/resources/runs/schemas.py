"""Bodies and answers of the run routes."""

import uuid
from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

from capsules.audit.receipt import Receipt
from capsules.base_model import StrictModel
from capsules.budgets.amounts import Amounts
from capsules.runs.run import RunStatus


class RunSummary(BaseModel):
    """A run in lists: without its inputs and output."""

    model_config = ConfigDict(frozen=True, from_attributes=True)

    id: str
    capsule: str
    actor: str
    parent: str | None
    status: RunStatus
    reason: str
    step: int
    spent: Amounts
    created_at: datetime
    updated_at: datetime
    closed_at: datetime | None


class ReceiptPage(BaseModel):
    """A part of a run's receipt chain."""

    items: tuple[Receipt, ...]
    next: int | None = Field(None, description="`after` of the following part.")


class MessageText(StrictModel):
    """A person's words to the running persona."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"text": "Keep it under ten lines."}]})

    id: str = Field(
        default_factory=lambda: uuid.uuid4().hex,
        min_length=1,
        max_length=100,
        description="The same id twice is one message.",
    )
    text: str = Field(min_length=1, max_length=8000)
