"""Request and response bodies of the constitution routes."""

from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from api.parameters import DIGEST
from capsules.base_model import FrozenModel, StrictModel
from capsules.constitutions.constitution import ConstitutionRecord, ConstitutionSignature, ConstitutionSummary
from capsules.constitutions.proposal import ActivationRecord, ActiveConstitution, Stage
from capsules.digest import Digest

SCOPE = r"^(\*|[a-z0-9][a-z0-9-]{0,62})$"
ScopeText = Annotated[
    str,
    Field(pattern=SCOPE, description="`*` for all tenants, or one tenant. Unset: the widest that you may change."),
]
DigestText = Annotated[str, Field(pattern=DIGEST)]


class ProposalRequest(StrictModel, json_schema_extra={"examples": [{"digest": "sha256:" + "0" * 64}]}):
    """A constitution document, the digest of an installed one, or overlays on the constitution of all tenants."""

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


class RollbackRequest(StrictModel):
    """The scope to roll back, and the constitution to return to."""

    scope: ScopeText | None = None
    to: DigestText | None = Field(
        None, description="A constitution that was active in this scope. Unset: the last one."
    )


class PromotionRequest(StrictModel):
    """The canary to promote."""

    scope: str = Field(pattern=SCOPE, description="The tenant whose canary becomes the constitution of all tenants.")


class RevocationRequest(StrictModel):
    """Why a constitution is revoked."""

    reason: str = Field("", max_length=2000)


class VoteRequest(StrictModel):
    """Comment on a vote."""

    comment: str = Field("", max_length=2000)


class ConstitutionPage(FrozenModel):
    """Installed constitutions, those in force for the caller's tenant, and their history."""

    active: Digest | None
    shadow: Digest | None
    items: tuple[ConstitutionSummary, ...]
    history: tuple[ActiveConstitution, ...]


class ConstitutionResponse(FrozenModel):
    """A constitution, the scopes where it was in force, and its activations."""

    constitution: ConstitutionRecord
    history: tuple[ActiveConstitution, ...] = Field(description="Where it was active or a shadow, newest first.")
    activations: tuple[ActivationRecord, ...] = Field(
        description="Activations of the caller's tenant, with proofs and difference."
    )


class RevocationResponse(FrozenModel):
    """The revoked constitution, and the scopes that it was active in."""

    digest: Digest
    active_for: tuple[str, ...] = Field(description="Scopes where nothing runs until another constitution is active.")
