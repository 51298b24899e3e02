"""Forecasts: the expected usage of a run before its start, and the accuracy of past forecasts."""

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import ConfigDict, Field

from api.access import CapsuleReader, RunReader
from api.deps import PageLimit, Soma
from api.middleware.bodies import StorableJsonRoute
from api.middleware.problems import responses
from api.resources.runs import service as runs
from api.resources.runs.preflight import check_inputs
from api.run_urls import REFERENCE
from capsules.base_model import Page, StrictModel
from capsules.budgets.amounts import Amounts
from capsules.digest import canonical
from capsules.forecasts.forecast import Accuracy, Forecast, PastRun
from capsules.names import parse_reference
from policy.forecasts.forecaster import accuracy

router = APIRouter(prefix="/v1/forecasts", tags=["forecasts"], route_class=StorableJsonRoute)

CapsuleFilter = Annotated[str | None, Query(max_length=63, description="Only runs of this capsule, by name.")]


class ToForecast(StrictModel):
    """A start to forecast; nothing is started."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"capsule": "meeting-summary@1", "inputs": {"transcript": "…"}}]}
    )

    capsule: str = Field(pattern=REFERENCE)
    inputs: dict[str, Any] = Field(default_factory=dict)
    budget: Amounts | None = Field(None, description="Unset: the capsule's own.")


@router.post("", responses=responses(404))
async def forecast(body: ToForecast, caller: CapsuleReader, soma: Soma) -> Forecast:
    """Forecast a run: tokens and money with their interval, or `static` where there is no data. Starts nothing."""
    published = await runs.find(soma, caller, parse_reference(body.capsule))
    capsule = published.capsule
    check_inputs(capsule, body.inputs)
    length = len(canonical(body.inputs).decode())
    return await soma.forecasts.forecast(caller.tenant, capsule, input_length=length, budget=body.budget)


@router.get("", responses=responses())
async def list_forecasts(
    caller: RunReader, soma: Soma, capsule: CapsuleFilter = None, limit: PageLimit = 50
) -> Page[PastRun]:
    """List the last completed runs, oldest first, with their forecast and the tokens that they used."""
    async with soma.db.transaction(caller.tenant) as tx:
        return Page(items=tuple(await tx.forecasts.past(capsule, limit)))


@router.get("/accuracy", responses=responses())
async def show_accuracy(caller: RunReader, soma: Soma, capsule: CapsuleFilter = None) -> Page[Accuracy]:
    """Show the coverage of the intervals and the error of the estimates, by capsule and model."""
    async with soma.db.transaction(caller.tenant) as tx:
        return Page(items=accuracy(await tx.forecasts.past(capsule)))
