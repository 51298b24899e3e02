"""Approval edit: a person changes the arguments of a waiting tool call, and the gate evaluates the edited action."""

from typing import Any

from pydantic import Field

from capsules.base_model import AttestedModel, StrictModel
from capsules.digest import Digest
from capsules.tools.tool import ToolRequest


class ApprovalEdit(AttestedModel):
    """Payload of the Update `edit`. The attestation says who edits and is bound to the new arguments."""

    approval: str
    action: Digest
    arguments: dict[str, Any] = Field(description="All arguments of the tool call, as they shall be.")
    comment: str = Field("", max_length=2000)
    token: str


class EditRequest(StrictModel):
    """Input of the platform activity `approval.edit`: the edit, and the whole call as it would be."""

    edit: ApprovalEdit
    call: ToolRequest


class EditProblem(StrictModel):
    """Where an argument does not follow the action's schema."""

    path: str = Field(description="`arguments.code`")
    message: str


class EditResult(StrictModel):
    """Result of recording an edit."""

    approval: str
    action: Digest | None = Field(None, description="Digest of the edited action, which the gate evaluates next.")
    edited_by: str | None = None
    problem: str | None = Field(None, description="Why the edit was refused; nothing is changed then.")
    problems: tuple[EditProblem, ...] = Field((), description="What does not follow the action's schema.")


class WaitingCall(StrictModel):
    """A tool call that waits for a person, as that person must see it."""

    target: str
    arguments: dict[str, Any]


class WaitingCalls(StrictModel):
    """Answer of the query `waiting`: approval id to the call it is about."""

    calls: dict[str, WaitingCall] = Field(default_factory=dict)
