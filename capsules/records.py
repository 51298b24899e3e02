"""What the store remembers, as others see it: rows never leave `somagent.store`."""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from capsules.amounts import Amounts
from capsules.capsule import Capsule
from capsules.digest import Digest
from capsules.run import RunStatus

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


class ConstitutionRecord(BaseModel):
    """A constitution as installed: the document, its digest and the signature over the digest."""

    model_config = FROZEN

    digest: Digest
    name: str
    version: str
    document: dict[str, Any]
    signature: str
    key_id: str
    state: Literal["active", "retired", "revoked"]
    installed_at: datetime


class Page[T](BaseModel):
    """A slice of a list; `next` is the cursor of the following one."""

    model_config = FROZEN

    items: tuple[T, ...]
    next: str | None = None
