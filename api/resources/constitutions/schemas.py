"""Bodies and answers of the constitution routes."""

from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from api.run_urls import DIGEST
from capsules.base_model import StrictModel
from capsules.constitutions.constitution import ConstitutionRecord, ConstitutionSignature, ConstitutionSummary
from capsules.constitutions.proposal import ActivationRecord, ActiveConstitution, Stage
from capsules.digest import Digest

SCOPE = r"^(\*|[a-z0-9][a-z0-9-]{0,62})$"
ScopeText = Annotated[
    str,
    Field(
        pattern=SCOPE,
        description="`*` for all tenants, or a tenant. Unset: the widest that the caller may.",
    ),
]
DigestText = Annotated[str, Field(pattern=DIGEST)]


class Propose(StrictModel):
    """A document, the digest of an installed one, or overlays on the constitution of all tenants."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"digest": "sha256:" + "0" * 64}]})

    document: dict[str, Any] | None = None
    digest: DigestText | None = None
    overlays: tuple[dict[str, Any], ...] = Field((), max_length=20)
    signatures: tuple[ConstitutionSignature, ...] = Field(
        (),
        max_length=50,
        description="Over the digest of the document, or of the document that results from the overlays.",
    )
    scope: ScopeText | None = None
    stage: Stage = "active"

    @model_validator(mode="after")
    def _one_subject(self) -> Self:
        if (self.document is not None) + (self.digest is not None) + bool(self.overlays) != 1:
            raise ValueError("a proposal has one of `document`, `digest` and `overlays`")
        return self


class RollBack(StrictModel):
    scope: ScopeText | None = None
    to: DigestText | None = Field(None, description="A constitution that was active there. Unset: the previous one.")


class Promote(StrictModel):
    scope: str = Field(pattern=SCOPE, description="The tenant whose canary becomes the constitution of all tenants.")


class Why(StrictModel):
    reason: str = Field("", max_length=2000)


class Comment(StrictModel):
    comment: str = Field("", max_length=2000)


class ConstitutionPage(BaseModel):
    """Installed constitutions, those in force for the caller's tenant, and their history."""

    active: Digest | None
    shadow: Digest | None
    items: tuple[ConstitutionSummary, ...]
    history: tuple[ActiveConstitution, ...]


class ConstitutionDetail(BaseModel):
    constitution: ConstitutionRecord
    history: tuple[ActiveConstitution, ...] = Field(description="Where it was active or a shadow, newest first.")
    activations: tuple[ActivationRecord, ...] = Field(
        description="Activations of the caller's tenant, with proofs and difference."
    )


class Revoked(BaseModel):
    digest: Digest
    active_for: tuple[str, ...] = Field(description="Scopes in which nothing runs until another one is active.")
