"""Edit-then-approve: a person changes the arguments of a waiting tool call; the gate judges what becomes of it anew."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from capsules.digest import Digest
from capsules.tools.tool import ToolCall

STRICT = ConfigDict(frozen=True, extra="forbid")


class ApprovalEdit(BaseModel):
    """Payload of the Update `edit`. Who edits is in the attestation, which is bound to the new arguments."""

    model_config = STRICT

    approval: str
    action: Digest
    arguments: dict[str, Any] = Field(description="All arguments of the tool call, as they shall be.")
    comment: str = Field("", max_length=2000)
    token: str


class EditRequest(BaseModel):
    """Input of the platform activity `approval.edit`: the edit, and the whole call as it would be."""

    model_config = STRICT

    edit: ApprovalEdit
    call: ToolCall


class EditProblem(BaseModel):
    """Where an argument does not follow the action's schema."""

    model_config = STRICT

    path: str = Field(description="`arguments.code`")
    message: str


class EditMade(BaseModel):
    """Result of recording an edit."""

    model_config = STRICT

    approval: str
    action: Digest | None = Field(None, description="Digest of the edited action, which the gate judges next.")
    edited_by: str | None = None
    problem: str | None = Field(None, description="Why the edit was refused; nothing is changed then.")
    problems: tuple[EditProblem, ...] = Field((), description="What does not follow the action's schema.")


class WaitingCall(BaseModel):
    """A tool call that waits for a person, as that person must see it."""

    model_config = STRICT

    target: str
    arguments: dict[str, Any]


class WaitingCalls(BaseModel):
    """Answer of the query `waiting`: approval id to the call it is about."""

    model_config = STRICT

    calls: dict[str, WaitingCall] = Field(default_factory=dict)
