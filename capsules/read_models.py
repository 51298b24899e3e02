"""What the store remembers, as others see it: rows never leave `somagent.db`."""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from capsules.budgets.amounts import Amounts
from capsules.capsule import Capsule
from capsules.digest import Digest
from capsules.runs.run import RunStatus

FROZEN = ConfigDict(frozen=True)


class PublishedCapsule(BaseModel):
    """One immutable version, with the platform's signature over its digest."""

    model_config = FROZEN

    capsule: Capsule
    digest: Digest
    signature: str = Field(description="Base64 Ed25519 signature over the digest's ASCII text.")
    key_id: str
    published_at: datetime
    published_by: str


class NewRun(BaseModel):
    """A run that the API accepts; a schedule's runs are entered by the ledger when they reach the gate."""

    model_config = FROZEN

    id: str
    capsule: str
    digest: Digest
    actor: str
    inputs: dict[str, Any] = Field(default_factory=dict)
    request: Digest = Field(description="Digest of the request: the same key with another body is a conflict.")
    parent: str | None = None


class RunRecord(BaseModel):
    """A run as lists and pages show it."""

    model_config = FROZEN

    id: str
    tenant: str
    capsule: str
    digest: Digest | None = None
    actor: str
    parent: str | None = None
    status: RunStatus
    reason: str = ""
    step: int = 0
    inputs: dict[str, Any] = Field(default_factory=dict)
    output: Any = None
    artifact: Digest | None = None
    account: str | None = None
    spent: Amounts = Amounts()
    created_at: datetime
    updated_at: datetime
    closed_at: datetime | None = None
    pruned_at: datetime | None = Field(None, description="When its inputs, output and artifacts were deleted.")


class ArtifactRecord(BaseModel):
    model_config = FROZEN

    run: str
    name: str
    media_type: str
    digest: Digest
    size: int
    created_at: datetime


class Principal(BaseModel):
    """Who calls: a person or a program of one tenant, and what it may do."""

    model_config = FROZEN

    tenant: str
    subject: str
    capabilities: frozenset[str]


class ConstitutionSignature(BaseModel):
    """One key's word for a constitution: Base64 Ed25519 over the digest's ASCII text."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key_id: str = Field(max_length=100)
    signature: str = Field(max_length=200)


class ConstitutionRecord(BaseModel):
    """A constitution as installed: the document, its digests and the signatures over the digest."""

    model_config = FROZEN

    digest: Digest
    sha3_512: str = Field("", description="SHA3-512 of the canonical document, for those who compare by that.")
    name: str
    version: str
    document: dict[str, Any]
    signatures: tuple[ConstitutionSignature, ...] = ()
    state: Literal["installed", "revoked"] = "installed"
    proposed_by: str = ""
    installed_at: datetime


class ConstitutionSummary(BaseModel):
    """A constitution as lists show it: everything but its document."""

    model_config = FROZEN

    digest: Digest
    sha3_512: str
    name: str
    version: str
    keys: tuple[str, ...] = Field((), description="Who signed, whether or not their keys still count.")
    state: Literal["installed", "revoked"]
    proposed_by: str
    installed_at: datetime


class Page[T](BaseModel):
    """A slice of a list; `next` is the cursor of the following one."""

    model_config = FROZEN

    items: tuple[T, ...]
    next: str | None = None
