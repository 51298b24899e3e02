"""Tools: the signed definition of an integration and its actions, its calls and results, and the executor ports."""

from typing import Any, Literal, Protocol

from pydantic import Field, field_validator

from capsules.actions.action import DataClass, Effect, Egress
from capsules.actions.ledger_messages import AttemptKey
from capsules.base_model import StrictModel
from capsules.budgets.amounts import Amounts
from capsules.digest import Digest
from capsules.errors import Invalid
from capsules.names import Identifier, Name, Version

TOOL_KINDS = frozenset({"container"})
"""Kinds of tools that a worker has an executor for. A tool file of another kind is refused when it is read."""


class ToolAction(StrictModel):
    """One thing a tool can do, and what it can touch."""

    summary: str
    inputs: dict[str, Any] = Field(description="JSON Schema of the arguments.")
    effect: Effect = "read"
    reversible: bool = True
    egress: Egress = "none"
    data: DataClass = "internal"
    idempotent: bool = False
    interpreter: tuple[str, ...] = Field((), description="container: command that is given the code, e.g. `python3 -`.")


class ContainerLimits(StrictModel):
    """Limits of a sandboxed process, enforced by the container engine and the kernel."""

    cpus: float = Field(1.0, gt=0, le=16)
    memory_bytes: int = Field(256 * 2**20, ge=16 * 2**20)
    pids: int = Field(64, ge=4, le=4096)
    seconds: int = Field(30, ge=1, le=3600)
    output_bytes: int = Field(256 * 1024, ge=1024, le=8 * 2**20)
    tmpfs_bytes: int = Field(64 * 2**20, ge=2**20)


class Tool(StrictModel):
    name: Name
    version: Version
    summary: str
    kind: Identifier = Field("container", description="Which executor runs it.")
    actions: dict[Identifier, ToolAction]
    limits: ContainerLimits = ContainerLimits()

    @property
    def ref(self) -> str:
        return f"{self.name}@{self.version}"

    def target(self, action: str) -> str:
        """Return how actions and authorities name it: `python@1.0.0/run`."""
        return f"{self.ref}/{action}"


class ToolRequest(StrictModel):
    """Input of the activity `tool.invoke`: an action of a locked tool, by name. The run's lock has the definition."""

    tool: str = Field(description="`name@version`.")
    action: Identifier
    arguments: dict[str, Any]

    @field_validator("tool", mode="before")
    @classmethod
    def _reference(cls, tool: Any) -> Any:  # noqa: ANN401 - as decoded
        """Return the reference. Older payloads hold the whole definition; only its name and version count."""
        return f"{tool['name']}@{tool['version']}" if isinstance(tool, dict) else tool

    @property
    def target(self) -> str:
        """Return how actions and authorities name the action: `python@1.0.0/run`."""
        return f"{self.tool}/{self.action}"


class ToolCall(StrictModel):
    """A tool call with the definition of the tool from the run's lock, as executors get it."""

    tool: Tool
    action: Identifier
    arguments: dict[str, Any]

    @property
    def declared(self) -> ToolAction:
        """The definition of the action. Raises Invalid when the tool has no such action."""
        if self.action not in self.tool.actions:
            known = ", ".join(sorted(self.tool.actions))
            raise Invalid(f"The tool {self.tool.ref} has no action {self.action!r}. It has: {known}.")
        return self.tool.actions[self.action]


class ToolAnswer(StrictModel):
    """Result of an executor with the whole text, which may be long. The activity makes a `ToolResult` of it."""

    ok: bool
    exit_code: int = 0
    text: str = Field("", description="At most `limits.output_bytes` of it.")
    error: str = Field("", description="Why it failed, or which limit was hit.")
    duration_ms: int = 0
    usage: Amounts = Amounts(tool_calls=1)


class ToolResult(StrictModel):
    """Result of a tool call: `output` when its text was JSON, always the text (cut to a preview)."""

    ok: bool
    exit_code: int
    output: Any = None
    text: str = Field("", description="Standard output, at most 4,096 characters.")
    error: str = Field("", description="Standard error or the limit that was hit, at most 2,048 characters.")
    content: Digest | None = Field(None, description="Whole standard output in the content store, when `text` is cut.")
    duration_ms: int = 0


SeccompProfile = Literal["script", "browser"]
"""System calls that a program in a sandbox may make: `sandbox.seccomp` has the lists."""


class ContainerSpec(StrictModel):
    image: str
    command: tuple[str, ...] = Field(min_length=1)
    files: dict[str, str | bytes] = Field(
        default_factory=dict, description="Relative paths below the working directory."
    )
    stdin: str = ""
    limits: ContainerLimits = ContainerLimits()
    labels: dict[str, str] = Field(default_factory=dict)


class ContainerResult(StrictModel):
    exit_code: int
    stdout: str
    stderr: str
    truncated: bool = False
    timed_out: bool = False
    out_of_memory: bool = False
    duration_ms: int = 0


class Sandbox(Protocol):
    """Runs a container once for a key, inside hard limits."""

    async def run(self, spec: ContainerSpec, *, key: str) -> ContainerResult:
        """Run, or pick up the run that an earlier caller with the same key began. Cancelling stops the container."""
        ...

    async def discard(self, key: str) -> None:
        """Remove what is kept for `key`; called when the result is safe."""
        ...


class ToolExecutor(Protocol):
    """Runs the actions of the tools of one kind. `tests/support/executor_contract.py` holds each one to this.

    It stays within `seconds` and `output_bytes` of the tool's limits. Hitting one is an answer that is not ok, or is
    cut, and says so in `error`.
    """

    async def execute(self, call: ToolCall, *, key: AttemptKey) -> ToolAnswer:
        """Run the action, or pick up what an earlier call with the same `key.effect` began. Cancelling stops it.

        The tool is the one that the run has locked, and the arguments fit the action's schema. An action that fails
        is an answer that is not ok. Raises Conflict when the key was used for another call, Unavailable when what the
        tool needs cannot be reached.
        """
        ...

    async def discard(self, key: AttemptKey) -> None:
        """Forget what is kept for the key. Called when the answer is safe; nothing kept is fine."""
        ...
