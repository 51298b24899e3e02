"""The FastAPI application: routers, middleware and problem documents around one State."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema

from api.deps import State
from api.middleware import problems
from api.middleware.limits import BodyLimit, RequestRateLimit
from api.middleware.metrics import RequestMetrics
from api.middleware.problems import Problem
from api.resources.approvals import routes as approvals
from api.resources.audit import routes as audit
from api.resources.budgets import routes as budgets
from api.resources.capsules import routes as capsules
from api.resources.codec import routes as codec
from api.resources.constitutions import routes as constitutions
from api.resources.delegations import routes as delegations
from api.resources.documentation import routes as documentation
from api.resources.explanations import routes as explanations
from api.resources.forecasts import routes as forecasts
from api.resources.health import routes as health
from api.resources.keys import routes as keys
from api.resources.notifications import routes as notifications
from api.resources.policy import routes as policy
from api.resources.principals import routes as principals
from api.resources.retention import routes as retention
from api.resources.runs import routes as runs
from api.resources.schedules import routes as schedules
from api.resources.standing_grants import routes as standing_grants
from api.resources.tenants import routes as tenants
from api.resources.tokens import routes as tokens
from api.resources.usage import routes as usage
from api.run_urls import EncodedSlashes
from capsules.capsule import Capsule

DESCRIPTION = """Task Capsules: agent work as governed, durable jobs.

No mocks, no bypasses, no invented values: real servers, real data.

Send `Authorization: Bearer <token or API key>`. The token determines the tenant. A run's id contains slashes: in a URL,
write `~` (or `%2F`) for each `/`. Run `acme/hello/k1` is `/v1/runs/acme~hello~k1`. Every failure is a problem document
(`application/problem+json`) with a stable `code`. Lists return `items` and `next`. Send `next` as `cursor` (or `after`,
where the list has that parameter) to get the following page.
"""

ROUTERS = (
    capsules.router,
    capsules.schemas,
    runs.starts,
    runs.router,
    runs.artifacts,
    explanations.router,
    forecasts.router,
    approvals.router,
    delegations.router,
    standing_grants.router,
    notifications.router,
    schedules.router,
    budgets.router,
    budgets.projects,
    usage.router,
    audit.router,
    retention.router,
    policy.router,
    constitutions.router,
    tokens.router,
    keys.router,
    principals.router,
    tenants.router,
    codec.router,
    health.router,
    health.probes,
    documentation.router,
)


def create_app(state: State) -> FastAPI:
    """Return the application. It opens and closes nothing: the caller owns the state."""
    app = FastAPI(
        title="SomaGent",
        version="1",
        description=DESCRIPTION,
        openapi_url="/v1/openapi.json",
        docs_url=None,  # FastAPI's pages load scripts from other servers; `resources/documentation` does not
        redoc_url=None,
        separate_input_output_schemas=True,
    )
    app.state.somagent = state
    for router in ROUTERS:
        app.include_router(router)
    problems.install(app)
    # The last one added is the outermost.
    app.add_middleware(RequestRateLimit, state=state)
    app.add_middleware(BodyLimit, largest=state.settings.max_body_bytes)
    app.add_middleware(RequestMetrics, metrics=state.metrics)
    app.add_middleware(EncodedSlashes)
    # FastAPI's own way to extend the document.
    app.openapi = lambda: _document(app)  # type: ignore[method-assign]
    return app


def _document(app: FastAPI) -> dict[str, Any]:
    """Return the OpenAPI document, with the schemas that routes name only by reference."""
    if app.openapi_schema is None:
        document = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
        template = "#/components/schemas/{model}"
        _, found = models_json_schema([(Capsule, "validation"), (Problem, "serialization")], ref_template=template)
        document.setdefault("components", {}).setdefault("schemas", {}).update(found["$defs"])
        app.openapi_schema = document
    return app.openapi_schema
