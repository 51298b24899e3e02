"""Is it alive, can it work, what has it counted. None of these needs a token; none tells a tenant's data."""

import asyncio
from collections.abc import Awaitable
from typing import Literal

import httpx
from fastapi import APIRouter, Response
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4
from pydantic import BaseModel, Field

from api.deps import Soma, State
from api.middleware.problems import public_responses

router = APIRouter(prefix="/v1", tags=["health"])
probes = APIRouter(include_in_schema=False)
"""The same, where probes and scrapers look by custom."""

PATIENCE_SECONDS = 2.0
REQUIRED = frozenset({"postgres", "temporal"})
"""Without these nothing can be served. Without Valkey or the model server the API works and says what is missing."""


class Health(BaseModel):
    """This process answers; `degraded` says what it does without."""

    status: Literal["ok"] = "ok"
    degraded: list[str] = Field(default_factory=list)


class PartHealth(BaseModel):
    ok: bool
    required: bool
    problem: str | None = None


class Readiness(BaseModel):
    ready: bool
    parts: dict[str, PartHealth]


@probes.get("/health")
@router.get("/health", responses=public_responses())
async def health(soma: Soma) -> Health:
    """Say that this process answers, and whether it does without something."""
    return Health(degraded=[soma.rates.degraded] if soma.rates.degraded else [])


@probes.get("/ready")
@router.get("/ready", responses={503: {"model": Readiness, "description": "Not ready"}, **public_responses()})
async def ready(response: Response, soma: Soma) -> Readiness:
    """Ask every part behind the API, and say how each answered."""
    checks = {
        "postgres": soma.db.check(),
        "temporal": _temporal(soma),
        "valkey": soma.rates.ping(),
        "model": _model(soma),
    }
    answers = await asyncio.gather(*(_asked(name, check) for name, check in checks.items()))
    parts = dict(zip(checks, answers, strict=True))
    readiness = Readiness(ready=all(part.ok for part in answers if part.required), parts=parts)
    response.status_code = 200 if readiness.ready else 503
    return readiness


@probes.get("/metrics", response_class=PlainTextResponse)
@router.get(
    "/metrics",
    response_class=PlainTextResponse,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, **public_responses()},
)
async def metrics(soma: Soma) -> PlainTextResponse:
    """Return this process's counters for Prometheus."""
    return PlainTextResponse(soma.metrics.text(), media_type=CONTENT_TYPE_PLAIN_0_0_4)


async def _asked(name: str, check: Awaitable[None]) -> PartHealth:
    required = name in REQUIRED
    try:
        await asyncio.wait_for(check, PATIENCE_SECONDS)
    except Exception as error:  # noqa: BLE001 - whatever a part's client raises is the answer to the question asked
        return PartHealth(ok=False, required=required, problem=_reason(error))
    return PartHealth(ok=True, required=required)


def _reason(error: Exception) -> str:
    # The kind of failure only: driver messages hold addresses and user names, and this answer is public.
    return "no answer in time" if isinstance(error, TimeoutError) else f"failed with {type(error).__name__}"


async def _temporal(soma: State) -> None:
    if not await soma.temporal.service_client.check_health():
        raise ConnectionError("Temporal does not serve")


async def _model(soma: State) -> None:
    key = soma.settings.slm_api_key
    headers = {"Authorization": f"Bearer {key.get_secret_value()}"} if key else {}
    async with httpx.AsyncClient(timeout=PATIENCE_SECONDS, headers=headers, trust_env=False) as client:
        (await client.get(f"{soma.settings.slm_base()}/models")).raise_for_status()
