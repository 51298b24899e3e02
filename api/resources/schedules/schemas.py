"""Request and response bodies of the schedule routes."""

from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import Field, JsonValue, model_validator
from pydantic.config import JsonDict

from api.parameters import KEY, REFERENCE
from capsules.base_model import FrozenModel, StrictModel
from capsules.budgets.amounts import Amounts
from capsules.duration import Duration
from capsules.names import Name, ReferenceText

Overlap = Literal["skip", "buffer_one", "buffer_all", "cancel_other", "terminate_other", "allow_all"]
Cron = Annotated[str, Field(pattern=r"^[0-9*/,A-Za-z?-]+( [0-9*/,A-Za-z?-]+){4}$", max_length=100)]

EXAMPLE: JsonDict = {"name": "monday-report", "capsule": "weekly-report@1", "cron": ["0 7 * * 1"], "inputs": {}}
ONE_TIME: list[JsonValue] = [{"required": ["cron"]}, {"required": ["every"]}]


class ScheduleRequest(StrictModel, json_schema_extra={"examples": [EXAMPLE], "oneOf": ONE_TIME}):
    """A new schedule: capsule, inputs and times. Times are UTC."""

    name: str = Field(pattern=KEY, max_length=100)
    capsule: ReferenceText = Field(
        pattern=REFERENCE,
        max_length=160,
        description="Resolved at creation. All runs use the version found.",
    )
    inputs: dict[str, Any] = Field(default_factory=dict)
    budget: Amounts | None = Field(None, description="Budget of each run. Unset: the capsule's own budget.")
    project: Name | None = Field(None, description="The project that pays for its runs. Unset: the tenant pays.")
    cron: tuple[Cron, ...] = Field((), max_length=10, description="Cron expressions of five fields.")
    every: Duration | None = Field(None, description="Interval: seconds, or a text such as `30m` or `1d`.")
    overlap: Overlap = Field("skip", description="What happens at a start time when the last run has not ended.")
    catch_up: Duration = Field(600, description="A start that was missed is made up within this time, not later.")
    paused: bool = False
    note: str = Field("", max_length=500)

    @model_validator(mode="after")
    def _some_time(self) -> Self:
        if bool(self.cron) == (self.every is not None):
            raise ValueError("a schedule has either `cron` or `every`")
        return self


class ScheduleTimes(FrozenModel):
    """The times as requested. Temporal stores calendars, from which the cron text cannot be restored."""

    cron: tuple[str, ...] = ()
    every: int | None = None


class Schedule(FrozenModel):
    """A schedule with its state."""

    name: str
    capsule: str = Field(description="`name@version`.")
    account: str = Field(description="The account that pays for its runs: the tenant's or a project's.")
    actor: str = Field(description="The principal in whose name its runs start.")
    authority_expires_at: int = Field(
        description="Unix seconds. From then on its starts are refused, until unpausing renews the authority."
    )
    cron: tuple[str, ...]
    every: int | None = Field(None, description="Seconds.")
    overlap: str
    catch_up: int = Field(description="Seconds.")
    paused: bool
    note: str
    next: tuple[datetime, ...] = Field(description="The next start times.")
    recent: tuple[str, ...] = Field(description="Ids of the last runs that it started.")
