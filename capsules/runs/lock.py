"""Lock (`capsule.lock`): exact versions and digests of everything a run depends on, resolved at admission."""

from typing import Protocol

from pydantic import Field, field_serializer

from capsules.base_model import StrictModel
from capsules.capsule import Capsule, Persona
from capsules.digest import Digest, digest
from capsules.errors import AuthorityRefused
from capsules.models.chat import Price
from capsules.tools.tool import Tool, ToolCall, ToolRequest


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

    @field_serializer("composites", when_used="json")
    def _sorted(self, references: frozenset[str]) -> list[str]:
        """Return them in one order, so that the lock has one digest in every process."""
        return sorted(references)

    def digest(self) -> Digest:
        return digest(self)

    def system_prompt(self) -> str:
        """Return the system prompt of the run's persona."""
        return self.persona.system_prompt() if self.persona else "You do exactly what is asked."

    def tool_call(self, request: ToolRequest) -> ToolCall:
        """Return the call with the locked definition. Raises AuthorityRefused for a tool that is not in the lock."""
        tool = self.tools.get(request.tool.partition("@")[0])
        if tool is None or tool.ref != request.tool:
            known = ", ".join(sorted(each.ref for each in self.tools.values())) or "none"
            raise AuthorityRefused(f"The run's lock has no tool {request.tool!r}. It has: {known}.")
        return ToolCall(tool=tool, action=request.action, arguments=request.arguments)


class Locks(Protocol):
    """Port of the locks of admitted runs."""

    async def get(self, tenant: str, run: str, digest: Digest | None) -> Lock | None:
        """Return the lock of a run; None when it has none.

        digest: of the lock, from the run's authority; None in an authority that was made before locks were pinned.
        Raises TamperedContent when the stored lock has another digest, and Unavailable.
        """
        ...


def require_lock(lock: Lock | None) -> Lock:
    """Return the lock. Raises AuthorityRefused when the run has none."""
    if lock is None:
        raise AuthorityRefused("The run was not admitted: it has no lock that says what it may use.")
    return lock
