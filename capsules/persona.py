"""Persona: the instructions that say how an agent thinks and writes during a run."""

from pydantic import Field

from capsules.base_model import StrictModel
from capsules.names import Name, Version


class Persona(StrictModel):
    name: Name
    version: Version
    summary: str
    traits: tuple[str, ...] = ()
    prompt: str = Field(min_length=1, description="System prompt.")

    @property
    def ref(self) -> str:
        return f"{self.name}@{self.version}"

    def system_prompt(self) -> str:
        return self.prompt if not self.traits else f"{self.prompt}\nYou are {', '.join(self.traits)}."
