"""Health, readiness and metrics of the API process. They need no token and show no data of a tenant."""

import asyncio
from collections.abc import Awaitable
from typing import Literal

import httpx
from fastapi import APIRouter, Response
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4
from pydantic import Field

from api.deps import State, StateDep
from api.middleware.problems import responses
from capsules.base_model import FrozenModel

router = APIRouter(prefix="/v1", tags=["health"], responses=responses(413, 429))
probes = APIRouter(include_in_schema=False)
"""The same endpoints at the paths that probes and scrapers expect."""

PATIENCE_SECONDS = 2.0
REQUIRED = frozenset({"postgres", "temporal"})
"""The API cannot work without these. Without Valkey or the model server it works and reports the missing part."""


class HealthResponse(FrozenModel):
    """The process answers. `degraded` names the parts that it works without."""

    status: Literal["ok"] = "ok"
    degraded: list[str] = Field(default_factory=list)


class PartHealth(FrozenModel):
    """Result of the check of one part. The API cannot work without a required part."""

    ok: bool
    required: bool
    problem: str | None = None


class ReadinessResponse(FrozenModel):
    """Whether every required part answers, and the result for each part."""

    ready: bool
    parts: dict[str, PartHealth]


@probes.get("/health")
@router.get("/health")
async def health(state: StateDep) -> HealthResponse:
    """Answer that the process is alive, and name the parts that it works without."""
    return HealthResponse(degraded=[state.rates.degraded] if state.rates.degraded else [])


@probes.get("/ready")
@router.get("/ready", responses={503: {"model": ReadinessResponse, "description": "Not ready"}})
async def ready(response: Response, state: StateDep) -> ReadinessResponse:
    """Check every server that the API uses and return the result for each."""
    checks = {
        "postgres": state.db.check(),
        "temporal": _temporal(state),
        "valkey": state.rates.ping(),
        "model": _model(state),
    }
    results = await asyncio.gather(*(_check(name, check) for name, check in checks.items()))
    parts = dict(zip(checks, results, strict=True))
    readiness = ReadinessResponse(ready=all(part.ok for part in results if part.required), parts=parts)
    response.status_code = 200 if readiness.ready else 503
    return readiness


@probes.get("/metrics", response_class=PlainTextResponse)
@router.get(
    "/metrics",
    response_class=PlainTextResponse,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
async def metrics(state: StateDep) -> PlainTextResponse:
    """Return the metrics of this process for Prometheus."""
    return PlainTextResponse(state.metrics.text(), media_type=CONTENT_TYPE_PLAIN_0_0_4)


async def _check(name: str, check: Awaitable[None]) -> PartHealth:
    required = name in REQUIRED
    try:
        await asyncio.wait_for(check, PATIENCE_SECONDS)
    except Exception as error:  # noqa: BLE001 - any error of a client means that its part does not work
        return PartHealth(ok=False, required=required, problem=_describe(error))
    return PartHealth(ok=True, required=required)


def _describe(error: Exception) -> str:
    # Only the kind of failure: messages of drivers contain addresses and user names, and this response is public.
    return "no answer in time" if isinstance(error, TimeoutError) else f"failed with {type(error).__name__}"


async def _temporal(state: State) -> None:
    if not await state.temporal.service_client.check_health():
        raise ConnectionError("Temporal does not serve")


async def _model(state: State) -> None:
    key = state.settings.slm_api_key
    headers = {"Authorization": f"Bearer {key.get_secret_value()}"} if key else {}
    async with httpx.AsyncClient(timeout=PATIENCE_SECONDS, headers=headers, trust_env=False) as client:
        (await client.get(f"{state.settings.slm_base()}/models")).raise_for_status()
