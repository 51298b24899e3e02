"""Lock (`capsule.lock`): exact versions and digests of everything a run depends on, resolved at admission."""

from pydantic import Field

from capsules.base_model import StrictModel
from capsules.capsule import Capsule, Persona
from capsules.digest import Digest, digest
from capsules.models.chat import Price
from capsules.tools.tool import Tool


class Lock(StrictModel):
    capsule: Capsule
    capsule_digest: Digest
    persona: Persona | None = None
    tools: dict[str, Tool] = Field(
        default_factory=dict, description="By the name that the capsule's steps use: `python`."
    )
    children: dict[str, Digest] = Field(
        default_factory=dict, description="Every task's capsule: `name@version` to digest."
    )
    task_capsules: dict[str, str] = Field(default_factory=dict, description="Task id to `name@version`.")
    composites: frozenset[str] = Field(frozenset(), description="Those of `children` that are composite.")
    model: str = ""
    price: Price = Field(Price(), description="Of the model, at admission.")
    cheaper: dict[str, Price] = Field(
        default_factory=dict, description="Prices, at admission, of the roles that the budget's `on_pressure` names."
    )
    price_book: Digest | None = Field(None, description="Of the book that was in force; none: the profile's own price.")
    image: str = ""
    constitution: Digest

    def digest(self) -> Digest:
        return digest(self)

    def targets(self) -> frozenset[str]:
        """Return every tool action that the capsule declares, exactly versioned."""
        names = {use.use.partition("@")[0]: use.actions for use in self.capsule.spec.tools}
        return frozenset(self.tools[name].target(action) for name, actions in names.items() for action in actions)
