"""Request and response bodies of the principal routes."""

from typing import Annotated

from pydantic import Field

from capsules.base_model import FrozenModel, StrictModel
from capsules.identity.principal import Principal, Subject
from somagent.identity.capabilities import Capability, Role

Capabilities = Annotated[frozenset[Capability | Role], Field(min_length=1)]


class PrincipalRequest(
    StrictModel, json_schema_extra={"examples": [{"subject": "ci", "capabilities": ["capsule:run"]}]}
):
    """A program or person that authenticates with an API key."""

    subject: Subject
    capabilities: Capabilities


class CapabilitiesRequest(StrictModel, json_schema_extra={"examples": [{"capabilities": ["run:read"]}]}):
    """The capabilities that a principal has from now on."""

    capabilities: Capabilities


class PrincipalResponse(FrozenModel):
    """A principal with a new API key."""

    principal: Principal
    key: str = Field(description="The API key. It is shown only now: the database has only its hash.")
    key_id: str
