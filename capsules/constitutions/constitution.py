"""Constitution records: an installed constitution with its signatures, and its summary for lists."""

from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from capsules.base_model import FrozenModel, StrictModel
from capsules.digest import Digest


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
