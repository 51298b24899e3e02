"""An attestation: the issuer's word that this person decides this, on this run, now."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from capsules.amounts import Amounts
from capsules.digest import Digest
from capsules.names import RunId, TenantId

Decision = Literal[
    "approve",
    "deny",
    "edit",
    "raise_budget",
    "propose_constitution",
    "approve_constitution",
    "reject_constitution",
]


class Attestation(BaseModel):
    """Claims of the token that travels with a decision; bound to run, approval and action, or to the amounts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tenant: TenantId
    subject: str = Field(min_length=1)
    capabilities: frozenset[str]
    purpose: Decision
    run: RunId
    approval: str | None = None
    action: Digest | None = None
    on_behalf_of: str | None = Field(None, description="Whose delegated right is used.")
    arguments: Digest | None = Field(None, description="edit: of the new arguments.")
    amounts: Amounts | None = None
