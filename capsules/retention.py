"""Retention: how many days content is kept, and legal holds that keep it longer."""

import datetime as dt
import re
from typing import Annotated

from pydantic import AfterValidator, ConfigDict, Field

from capsules.base_model import FrozenModel, StrictModel

_SCOPE = re.compile(r"tenant|capsule:[a-z][a-z0-9]*(-[a-z0-9]+)*|run:.{1,255}")


def _check_scope(text: str) -> str:
    if not _SCOPE.fullmatch(text):
        raise ValueError("a hold covers `tenant`, `capsule:<name>` or `run:<id>`")
    return text


HoldScope = Annotated[str, Field(max_length=260), AfterValidator(_check_scope)]
Days = Annotated[int, Field(ge=1, le=36_500)]


class Retention(StrictModel):
    """Days after which content is deleted; unset: it is kept for ever."""

    content_days: Days | None = Field(None, description="Inputs, outputs, artifacts, transcripts: after a run's end.")
    memory_days: Days | None = Field(None, description="What runs remembered: after it was stored.")


class DueContent(FrozenModel):
    """How much content would be, or was, deleted."""

    runs: int = Field(description="Runs whose inputs, output and results of actions go.")
    blobs: int = Field(description="Stored bytes that no kept run can need.")
    memories: int

    @property
    def nothing(self) -> bool:
        return self.runs == self.blobs == self.memories == 0


class HoldRequest(StrictModel):
    """A legal hold that is to be placed."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"scope": "run:acme/word-count/1", "reason": "Case 2026-114"}]}
    )

    scope: HoldScope = Field(description="`tenant`, `capsule:<name>`, or `run:<id>` with the runs below it.")
    reason: str = Field(min_length=1, max_length=500)


class Hold(HoldRequest):
    """A legal hold."""

    id: str
    placed_by: str
    placed_at: dt.datetime
    lifted_by: str | None = None
    lifted_at: dt.datetime | None = None
