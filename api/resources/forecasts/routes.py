"""Forecasts: the expected usage of a run before its start, past forecasts, and their accuracy."""

from typing import Annotated, Any

from fastapi import Query
from pydantic import Field

from api.access import CapsuleReader, RunReader
from api.deps import StateDep
from api.middleware.problems import resource_router, responses
from api.parameters import REFERENCE, PageLimit
from api.resources.runs.preflight import check_inputs, input_length
from api.resources.runs.service import find_capsule
from capsules.base_model import Page, StrictModel
from capsules.budgets.amounts import Amounts
from capsules.forecasts.forecast import Accuracy, Forecast, PastRun
from capsules.names import parse_reference
from policy.forecasts.forecaster import accuracy

router = resource_router("/v1/forecasts", "forecasts")

CapsuleFilter = Annotated[str | None, Query(max_length=63, description="Only runs of this capsule, by name.")]


EXAMPLE = {"capsule": "meeting-summary@1", "inputs": {"transcript": "…"}}


class ForecastRequest(StrictModel, json_schema_extra={"examples": [EXAMPLE]}):
    """A start to forecast."""

    capsule: str = Field(pattern=REFERENCE)
    inputs: dict[str, Any] = Field(default_factory=dict)
    budget: Amounts | None = Field(None, description="Unset: the capsule's own budget.")


@router.post("", responses=responses(404))
async def forecast(body: ForecastRequest, caller: CapsuleReader, state: StateDep) -> Forecast:
    """Forecast the tokens and money of a run, with intervals. `static`: not enough data. Starts nothing."""
    capsule = (await find_capsule(state, caller, parse_reference(body.capsule))).capsule
    check_inputs(capsule, body.inputs)
    return await state.forecasts.forecast(
        caller.tenant, capsule, input_length=input_length(body.inputs), budget=body.budget
    )


@router.get("")
async def list_forecasts(
    caller: RunReader, state: StateDep, capsule: CapsuleFilter = None, limit: PageLimit = 50
) -> Page[PastRun]:
    """List the last completed runs, oldest first, with their forecasts and the tokens that they used."""
    async with state.db.transaction(caller.tenant) as tx:
        return Page(items=tuple(await tx.forecasts.past(capsule, limit)))


@router.get("/accuracy")
async def show_accuracy(caller: RunReader, state: StateDep, capsule: CapsuleFilter = None) -> Page[Accuracy]:
    """Show the coverage of the intervals and the error of the estimates, by capsule and model."""
    async with state.db.transaction(caller.tenant) as tx:
        return Page(items=accuracy(await tx.forecasts.past(capsule)))
