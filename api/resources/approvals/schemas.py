"""Request and response bodies of the approval routes."""

from typing import Annotated, Any

from pydantic import BaseModel, Field

from api.middleware.problems import Problem
from api.parameters import RECORD_ID
from capsules.approvals.approval import Approval, ApprovalState, EligibleApprover
from capsules.base_model import StrictModel
from capsules.identity.principal import Subject

OnBehalfOf = Annotated[
    Subject | None,
    Field(description="The principal whose delegation you use. Unset: your own right, else any delegation to you."),
]


class DecisionRequest(StrictModel, json_schema_extra={"examples": [{"comment": "Checked with Ana."}]}):
    """Comment on a decision, and the delegation that is used."""

    comment: str = Field("", max_length=2000, description="The reason, kept with the approval.")
    on_behalf_of: OnBehalfOf = None


class AttestationRequest(DecisionRequest, json_schema_extra={"examples": [{"approve": True, "comment": "Fine."}]}):
    """A decision to attest."""

    approve: bool


class ArgumentEditRequest(
    DecisionRequest,
    json_schema_extra={"examples": [{"arguments": {"code": "print(2)"}, "comment": "Once is enough."}]},
):
    """The new arguments of a tool call: all of them, not only the changed ones."""

    arguments: dict[str, Any]


class BatchDecision(
    AttestationRequest, json_schema_extra={"examples": [{"approval": "0198c5f0a1b2", "approve": True}]}
):
    """One decision of a batch."""

    approval: Annotated[str, Field(pattern=RECORD_ID)]


class DecisionBatchRequest(StrictModel):
    """Several decisions. Each succeeds or fails by itself."""

    decisions: list[BatchDecision] = Field(min_length=1, max_length=100)


class BatchResult(BaseModel):
    """Result of one decision of a batch: the approval's state, or the problem."""

    approval: str
    done: bool
    state: ApprovalState | None = None
    problem: Problem | None = None


class DecisionBatchResponse(BaseModel):
    """Results in the order of the decisions."""

    results: list[BatchResult]


class ApprovalResponse(Approval):
    """An approval with the principals who could decide it now."""

    deciders: tuple[EligibleApprover, ...] = ()
