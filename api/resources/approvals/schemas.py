"""Bodies and answers of the approval routes."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from api.middleware.problems import Problem
from api.run_urls import RECORD_ID
from capsules.approvals.approval import ApprovalState
from capsules.base_model import StrictModel
from capsules.identity.principal import Subject

OnBehalfOf = Annotated[
    Subject | None,
    Field(description="Whose delegation you use. Unset: your own right, else any delegation to you."),
]


class Reason(StrictModel):
    """Comment for the record, and whose delegation is used."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"comment": "Checked with Ana."}]})

    comment: str = Field("", max_length=2000, description="Why, for the record.")
    on_behalf_of: OnBehalfOf = None


class ToAttest(Reason):
    """A decision to attest."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"approve": True, "comment": "Fine."}]})

    approve: bool


class Edit(Reason):
    """The new arguments of a tool call: all of them, not only the changed ones."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"arguments": {"code": "print(2)"}, "comment": "Once is enough."}]},
    )

    arguments: dict[str, Any]


class OneDecision(ToAttest):
    """One decision of a batch."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"approval": "0198c5f0a1b2", "approve": True}]})

    approval: str = Field(pattern=RECORD_ID)


class DecisionBatch(StrictModel):
    """Several decisions; each succeeds or fails by itself."""

    decisions: list[OneDecision] = Field(min_length=1, max_length=100)


class OneResult(BaseModel):
    """Result of one decision of a batch: the approval's state, or the problem."""

    approval: str
    done: bool
    state: ApprovalState | None = None
    problem: Problem | None = None


class Results(BaseModel):
    """Results in the order of the decisions."""

    results: list[OneResult]
