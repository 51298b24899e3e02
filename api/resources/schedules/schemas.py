"""Bodies and answers of the schedule routes."""

from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator
from pydantic.config import JsonDict

from api.run_urls import KEY, REFERENCE
from capsules.base_model import StrictModel
from capsules.budgets.amounts import Amounts
from capsules.duration import Duration
from capsules.names import Name, ReferenceText

Overlap = Literal["skip", "buffer_one", "buffer_all", "cancel_other", "terminate_other", "allow_all"]
Cron = Annotated[str, Field(pattern=r"^[0-9*/,A-Za-z?-]+( [0-9*/,A-Za-z?-]+){4}$", max_length=100)]

EXAMPLE: JsonDict = {"name": "monday-report", "capsule": "weekly-report@1", "cron": ["0 7 * * 1"], "inputs": {}}
ONE_TIME: list[JsonValue] = [{"required": ["cron"]}, {"required": ["every"]}]


class NewSchedule(StrictModel):
    """A new schedule: capsule, inputs and times. Times are UTC."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE], "oneOf": ONE_TIME})

    name: str = Field(pattern=KEY, max_length=100)
    capsule: ReferenceText = Field(
        pattern=REFERENCE, max_length=160, description="Resolved now: runs stay on the version found."
    )
    inputs: dict[str, Any] = Field(default_factory=dict)
    budget: Amounts | None = Field(None, description="Of each run. Unset: the capsule's own.")
    project: Name | None = Field(None, description="The project whose budget its runs spend. Unset: the tenant's.")
    cron: tuple[Cron, ...] = Field((), max_length=10, description="Five cron fields each.")
    every: Duration | None = Field(None, description="Seconds, or `30m`, `1d`.")
    overlap: Overlap = Field("skip", description="What to do when the last run has not ended.")
    catch_up: Duration = Field(600, description="Starts missed for longer than this are left out.")
    paused: bool = False
    note: str = Field("", max_length=500)

    @model_validator(mode="after")
    def _some_time(self) -> Self:
        if bool(self.cron) == (self.every is not None):
            raise ValueError("a schedule has either `cron` or `every`")
        return self


class Times(BaseModel):
    """The times as requested. Temporal stores calendars, from which the cron text cannot be restored."""

    cron: tuple[str, ...] = ()
    every: int | None = None


class Schedule(BaseModel):
    """A schedule with its state."""

    name: str
    capsule: str = Field(description="`name@version`.")
    account: str = Field(description="The account of its runs' budget: the tenant's or a project's.")
    actor: str = Field(description="The principal in whose name its runs start.")
    authority_expires_at: int = Field(
        description="Unix seconds; from then on its runs are refused. Unpausing renews it."
    )
    cron: tuple[str, ...]
    every: int | None = Field(None, description="Seconds.")
    overlap: str
    catch_up: int = Field(description="Seconds.")
    paused: bool
    note: str
    next: tuple[datetime, ...] = Field(description="The next times.")
    recent: tuple[str, ...] = Field(description="Ids of the last runs that it started.")
