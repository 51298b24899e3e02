"""Principals: those who call the API, and the form of their names and capabilities."""

from typing import Annotated

from pydantic import Field

from capsules.base_model import FrozenModel

Subject = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._@-]{0,99}$")]
"""The name of a principal within its tenant."""

CapabilityName = Annotated[str, Field(pattern=r"^[a-z]+:[a-z][a-z0-9-]{0,40}$")]


class Principal(FrozenModel):
    """A person or program of one tenant that calls the API, with its capabilities."""

    tenant: str
    subject: str
    capabilities: frozenset[str]
