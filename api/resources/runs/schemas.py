"""Request and response bodies of the run routes."""

import uuid
from datetime import datetime
from typing import Any

from pydantic import ConfigDict, Field

from capsules.base_model import FrozenModel, StrictModel
from capsules.budgets.amounts import Amounts
from capsules.names import Name
from capsules.runs.run import RunStatus

RUN_EXAMPLE = {"inputs": {"notes": "Ana ships on Friday. Bo writes the page."}}


class RunRequest(StrictModel, json_schema_extra={"examples": [RUN_EXAMPLE]}):
    """Inputs and budget of a new run."""

    inputs: dict[str, Any] = Field(default_factory=dict, description="They must follow the capsule's input schema.")
    budget: Amounts | None = Field(None, description="Unset: the capsule's own budget.")
    project: Name | None = Field(None, description="The project that pays for the run. Unset: the tenant pays.")


class RunSummary(FrozenModel):
    """A run in lists: without its inputs and output."""

    model_config = ConfigDict(from_attributes=True)

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


class MessageRequest(StrictModel, json_schema_extra={"examples": [{"text": "Keep it under ten lines."}]}):
    """A person's message to the running persona."""

    id: str = Field(
        default_factory=lambda: uuid.uuid4().hex,
        min_length=1,
        max_length=100,
        description="Two messages with the same id are one message.",
    )
    text: str = Field(min_length=1, max_length=8000)
