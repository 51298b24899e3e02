"""Bodies and answers of the capsule routes."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from capsules.base_model import StrictModel
from capsules.budgets.amounts import Amounts
from capsules.digest import Digest
from capsules.names import Name


class RunRequest(StrictModel):
    """Inputs and budget of a new run."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"inputs": {"notes": "Ana ships on Friday. Bo writes the page."}}]}
    )

    inputs: dict[str, Any] = Field(default_factory=dict, description="Must follow the capsule's input schema.")
    budget: Amounts | None = Field(None, description="Unset: the capsule's own.")
    project: Name | None = Field(None, description="The project whose budget it spends. Unset: the tenant's.")


class CapsuleCheck(BaseModel):
    """Reference and digest of a valid capsule file."""

    ref: str
    digest: Digest


CAPSULE_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": {"$ref": "#/components/schemas/Capsule"}},
            "application/yaml": {"schema": {"type": "string", "description": "The capsule file."}},
        },
    }
}
