"""Capsule file: a signed, versioned description of a job, JSON Schema at `/v1/schemas/capsule.json`; the persona."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from capsules.actions.action import Autonomy
from capsules.base_model import FrozenModel, StrictModel
from capsules.budgets.amounts import Amounts, Count
from capsules.digest import Digest, digest
from capsules.duration import Duration
from capsules.names import Identifier, Name, ReferenceText, Version

JsonSchema = dict[str, Any]


class Metadata(StrictModel):
    name: Name = Field(description="Lower-case words joined by hyphens: `log-triage`.")
    version: Version = Field(description="Semantic version. A published one never changes.")
    owner: str = Field("", max_length=100, description="Who is responsible for it.")
    summary: str = Field(min_length=1, max_length=300, description="One sentence for lists.")
    labels: dict[str, str] = Field(default_factory=dict, description="Texts by name, for people and programs.")


class Deliverable(StrictModel):
    """Result of a run: its JSON Schema, its value and its acceptance expressions."""

    model_config = ConfigDict(populate_by_name=True)

    shape: JsonSchema = Field(
        default_factory=lambda: {"type": "object"},
        alias="schema",
        description="JSON Schema of the deliverable.",
    )
    value: dict[str, Any] | None = Field(
        None, description="Mapping from steps or tasks; unset: the output of the last one."
    )
    accept: tuple[str, ...] = Field((), description="Expressions over `output` and `inputs`; all must hold.")


class ToolUse(StrictModel):
    use: ReferenceText = Field(description="Tool reference: `python@1`.")
    actions: tuple[Identifier, ...] = Field(min_length=1, description="Actions of the tool that the run may use.")


class ModelUse(StrictModel):
    role: Name = Field("dialogue", description="A role, resolved by model profiles; never a provider's name.")
    temperature: float = Field(0.0, ge=0, le=2, description="0: the most likely words; a higher value: more variation.")
    max_output_tokens: int = Field(256, ge=1, le=32_768, description="Highest number of tokens of one reply.")


class Recall(StrictModel):
    limit: int = Field(5, ge=1, le=50, description="Highest number of memories.")
    query: str = Field("", description="Template with `${{ }}`; unset: the intent.")


class MemoryUse(StrictModel):
    recall: Recall | None = Field(None, description="Memories of earlier runs that the persona sees; unset: none.")
    remember: Literal["nothing", "summary", "deliverable"] = Field(
        "nothing", description="What later runs can recall: nothing, the output's `summary`, or the whole output."
    )
    space: Name = Field("default", description="Space of the tenant's memory that is read and written.")


class Guardrails(StrictModel):
    max_steps: int = Field(ge=1, le=1000, description="Most steps; a run that reaches it fails with this reason.")
    autonomy: Autonomy = Field(
        "supervised", description="How closely people watch; the constitution reads it as `run.autonomy`."
    )
    max_repairs: int = Field(2, ge=0, le=5, description="How often a reply that breaks its schema is requested again.")
    max_revisions: int = Field(
        1, ge=0, le=5, description="How often a deliverable that is not accepted is requested again."
    )


class ThresholdRule(StrictModel):
    """Reaction to a budget threshold."""

    at: Literal[50, 80, 100] = Field(description="Per cent of any one limit.")
    do: Literal["cheaper_model", "shorter_outputs", "ask", "pause", "stop"] = Field(
        description="Use `role` from now on; halve the token limit of replies; wait for a raise; pause; end the run."
    )
    role: Name | None = Field(None, description="For cheaper_model: the model role, resolved by model profiles.")

    @model_validator(mode="after")
    def _role_of_a_cheaper_model(self) -> Self:
        if (self.do == "cheaper_model") != (self.role is not None):
            raise ValueError("`role` names the model of `do: cheaper_model`, and of nothing else")
        return self


class TaskBudget(StrictModel):
    """Budget of a task. Its own capsule says how it reacts to budget thresholds."""

    tokens: Count = Field(0, description="Tokens read and written by models.")
    usd: float = Field(0.0, ge=0, le=1_000_000, description="Dollars, kept as micro-dollars.")
    tool_calls: Count = Field(0, description="Number of tool calls.")

    def amounts(self) -> Amounts:
        return Amounts(tokens=self.tokens, micro_usd=round(self.usd * 1_000_000), tool_calls=self.tool_calls)


class Budget(TaskBudget):
    """Budget of a run: amounts, working time, and reactions to budget thresholds."""

    wall_clock: Duration = Field(600, description="Seconds, or `90s`, `10m`, `2h`.")
    on_exhausted: Literal["ask", "fail"] = Field("fail", description="Wait for a raise, or end.")
    on_pressure: tuple[ThresholdRule, ...] = Field(
        (), max_length=8, description="Reaction when 50, 80 or 100 per cent of a limit are spent."
    )

    def due_rules(self, before: int, now: int) -> Iterator[ThresholdRule]:
        """Yield the rules above threshold `before` and up to `now`, in the order of their thresholds."""
        return (rule for rule in sorted(self.on_pressure, key=lambda rule: rule.at) if before < rule.at <= now)


class Step(StrictModel):
    """One fixed step: a tool action (`use`) or a thought of the persona (`think`)."""

    model_config = ConfigDict(populate_by_name=True)

    id: Identifier = Field(description="Names the step's result in expressions: `steps.parse.output`.")
    use: str | None = Field(
        None, pattern=r"^[a-z][a-z0-9-]*/[a-z][a-z0-9_]*$", description="Tool and action: `python/run`."
    )
    with_: dict[str, Any] = Field(
        default_factory=dict, alias="with", description="Arguments; strings may hold `${{ expression }}`."
    )
    think: str | None = Field(
        None, min_length=1, description="What the persona is asked; may hold `${{ expression }}`."
    )
    shape: JsonSchema | None = Field(
        None, alias="schema", description="JSON Schema of a thought; unset: the deliverable's."
    )
    when: str | None = Field(None, description="Expression; the step is skipped when it is false.")

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if (self.use is None) == (self.think is None):
            raise ValueError("a step has either `use` (a tool action) or `think` (a question for the persona)")
        return self


class Task(StrictModel):
    """One child run of a composite capsule."""

    model_config = ConfigDict(populate_by_name=True)

    id: Identifier = Field(description="Names the task's result in expressions: `tasks.triage.output`.")
    capsule: ReferenceText = Field(description="A published capsule: `log-triage@^1`.")
    needs: tuple[Identifier, ...] = Field((), description="Tasks that must have ended before this one starts.")
    when: str | None = Field(None, description="Expression over `inputs` and `tasks`; false skips the task.")
    with_: dict[str, Any] = Field(
        default_factory=dict, alias="with", description="Inputs of the child; `${{ expression }}`."
    )
    budget: TaskBudget | None = Field(None, description="Unset: the child capsule's own.")
    on_failure: Literal["fail", "continue"] = Field(
        "fail", description="End the whole run, or continue with `output` null and the reason."
    )


class Trigger(StrictModel):
    schedule: str | None = Field(None, description="Five cron fields, UTC.")
    event: str | None = Field(None, max_length=200, description="Name of an event.")
    when: str | None = Field(None, description="Expression over `event`; false ignores it.")

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.schedule is None) == (self.event is None):
            raise ValueError("a trigger has either `schedule` or `event`")
        return self


class Spec(StrictModel):
    type: Literal["atomic", "composite", "utility"] = Field(
        description="A persona or fixed steps; tasks that are capsules; one tool action."
    )
    intent: str = Field(min_length=1, max_length=4000, description="The job in words; the persona reads it first.")
    inputs: JsonSchema = Field(default_factory=lambda: {"type": "object"}, description="JSON Schema of the inputs.")
    deliverable: Deliverable = Field(Deliverable(), description="Result of the run.")
    persona: ReferenceText | None = Field(None, description="The persona: `analyst@^1`.")
    model: ModelUse | None = Field(None, description="The model of the persona.")
    tools: tuple[ToolUse, ...] = Field((), description="Tools that the run and its child runs may use.")
    memory: MemoryUse = Field(MemoryUse(), description="Memories that the run reads and writes.")
    guardrails: Guardrails = Field(description="Limits of the run that the persona cannot change.")
    budget: Budget = Field(description="What the run may spend. An amount that is not given is zero.")
    steps: tuple[Step, ...] = Field((), description="Fixed steps, in order; without them the persona chooses each.")
    tasks: tuple[Task, ...] = Field((), description="A composite's child runs.")
    triggers: tuple[Trigger, ...] = Field(
        (), description="Intended triggers. They start nothing yet: use `somagent schedule create`."
    )
    example: dict[str, Any] | None = Field(None, description="Example inputs, for `somagent run --example`.")


class Capsule(StrictModel):
    """A whole capsule file."""

    model_config = ConfigDict(populate_by_name=True)

    api_version: Literal["somagent/v1"] = Field(alias="apiVersion", description="Version of this format.")
    kind: Literal["Capsule"] = Field(description="What the file describes.")
    metadata: Metadata = Field(description="Name, version and description.")
    spec: Spec = Field(description="What it does.")

    @property
    def ref(self) -> str:
        return f"{self.metadata.name}@{self.metadata.version}"

    def digest(self) -> Digest:
        """Return the content digest: over the canonical JSON of the whole file, defaults filled in."""
        return digest(self)


class PublishedCapsule(FrozenModel):
    """One immutable version, with the platform's signature over its digest."""

    capsule: Capsule
    digest: Digest
    signature: str = Field(description="Base64 Ed25519 signature over the digest's ASCII text.")
    key_id: str
    published_at: datetime
    published_by: str


class Persona(StrictModel):
    """The instructions that say how an agent thinks and writes during a run."""

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
