"""Explanation of a run (request, decisions, clauses, approvals, cost, result), and its evidence as a signed archive."""

from typing import Annotated

from fastapi import Query
from fastapi.responses import HTMLResponse, Response

from api.access import AuditReader, RunReader
from api.deps import StateDep
from api.middleware.problems import resource_router, responses
from api.resources.explanations.evidence import export
from api.resources.explanations.service import explain_run, render_page
from api.run_urls import RunPath, require_own
from capsules.audit.evidence import Redaction
from capsules.audit.explanation import RunExplanation

router = resource_router("/v1/runs", "runs")

# The page contains text of models and tools: it may load, run and send nothing, and no other page may frame it.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@router.get("/{run}/explanation", responses=responses(404))
async def explain(run: RunPath, caller: RunReader, state: StateDep) -> RunExplanation:
    """Explain the run from its records. A field without a record is empty."""
    return await explain_run(state, caller.tenant, require_own(run, caller))


@router.get("/{run}/explanation.html", responses=responses(404), response_class=HTMLResponse)
async def explain_for_people(run: RunPath, caller: RunReader, state: StateDep) -> HTMLResponse:
    """Return the explanation as one HTML page that loads nothing, to keep, print or send."""
    explanation = await explain_run(state, caller.tenant, require_own(run, caller))
    return HTMLResponse(render_page(explanation), headers={"Content-Security-Policy": CONTENT_SECURITY_POLICY})


@router.get("/{run}/evidence", responses=responses(404), response_class=Response)
async def export_evidence(
    run: RunPath,
    caller: AuditReader,
    state: StateDep,
    redact: Annotated[list[Redaction] | None, Query(description="Part to leave out; may be repeated.")] = None,
    *,
    children: Annotated[
        bool, Query(description="Include the evidence of each child run, in a folder of its own.")
    ] = True,
) -> Response:
    """Export the run and its child runs as one signed ZIP archive. An auditor can check it without this API."""
    data = await export(state, caller, require_own(run, caller), frozenset(redact or ()), children=children)
    name = run.replace("/", "-") + ".evidence.zip"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Response(data, media_type="application/zip", headers=headers)
