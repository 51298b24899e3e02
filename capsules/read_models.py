"""Read models: the records of the database as other packages see them. Rows never leave `somagent.db`."""

from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from capsules.base_model import FrozenModel, StrictModel
from capsules.budgets.amounts import Amounts
from capsules.capsule import Capsule
from capsules.digest import Digest
from capsules.runs.run import RunStatus


class PublishedCapsule(FrozenModel):
    """One immutable version, with the platform's signature over its digest."""

    capsule: Capsule
    digest: Digest
    signature: str = Field(description="Base64 Ed25519 signature over the digest's ASCII text.")
    key_id: str
    published_at: datetime
    published_by: str


class NewRun(FrozenModel):
    """A run that the API accepts; a schedule's runs are entered by the ledger when they reach the gate."""

    id: str
    capsule: str
    digest: Digest
    actor: str
    inputs: dict[str, Any] = Field(default_factory=dict)
    request: Digest = Field(description="Digest of the request: the same key with another body is a conflict.")
    parent: str | None = None


class RunRecord(FrozenModel):
    """A run as lists and pages show it."""

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


class ArtifactRecord(FrozenModel):
    run: str
    name: str
    media_type: str
    digest: Digest
    size: int
    created_at: datetime


class Principal(FrozenModel):
    """A person or program of one tenant that calls the API, with its capabilities."""

    tenant: str
    subject: str
    capabilities: frozenset[str]


class ConstitutionSignature(StrictModel):
    """Signature of a constitution by one key: Base64 Ed25519 over the digest's ASCII text."""

    key_id: str = Field(max_length=100)
    signature: str = Field(max_length=200)


class ConstitutionRecord(FrozenModel):
    """A constitution as installed: the document, its digests and the signatures over the digest."""

    digest: Digest
    sha3_512: str = Field("", description="SHA3-512 of the canonical document, for those who compare by that.")
    name: str
    version: str
    document: dict[str, Any]
    signatures: tuple[ConstitutionSignature, ...] = ()
    state: Literal["installed", "revoked"] = "installed"
    proposed_by: str = ""
    installed_at: datetime


class ConstitutionSummary(FrozenModel):
    """A constitution as lists show it: everything but its document."""

    digest: Digest
    sha3_512: str
    name: str
    version: str
    keys: tuple[str, ...] = Field((), description="Who signed, whether or not their keys still count.")
    state: Literal["installed", "revoked"]
    proposed_by: str
    installed_at: datetime


class Page[T](FrozenModel):
    """A slice of a list; `next` is the cursor of the following one."""

    items: tuple[T, ...]
    next: str | None = None
