"""A run explained: what was asked, decided, by which clause, by whom approved, what it cost, what came out."""

from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import HTMLResponse, Response

from api.access import AuditReader, RunReader
from api.deps import Soma
from api.middleware.bodies import StorableJsonRoute
from api.middleware.problems import responses
from api.resources.explanations.evidence import evidence_of
from api.resources.explanations.service import explain_run, page
from api.run_urls import RunPath, require_own
from capsules.audit.evidence import Redaction
from capsules.audit.explanation import RunExplanation

router = APIRouter(prefix="/v1/runs", tags=["runs"], route_class=StorableJsonRoute)

# The page shows what models and tools wrote: it may load, run and send nothing, and no other page may frame it.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


@router.get("/{run}/explanation", responses=responses(404))
async def explain(run: RunPath, caller: RunReader, soma: Soma) -> RunExplanation:
    """Explain the run from its own records; what no record says is left empty."""
    return await explain_run(soma, caller.tenant, require_own(run, caller))


@router.get("/{run}/explanation.html", responses=responses(404), response_class=HTMLResponse)
async def explain_for_people(run: RunPath, caller: RunReader, soma: Soma) -> HTMLResponse:
    """Explain the run on a page that loads nothing: to be kept, printed or sent."""
    found = await explain_run(soma, caller.tenant, require_own(run, caller))
    return HTMLResponse(page(found), headers={"Content-Security-Policy": POLICY})


@router.get("/{run}/evidence", responses=responses(404), response_class=Response)
async def export_evidence(
    run: RunPath,
    caller: AuditReader,
    soma: Soma,
    redact: Annotated[list[Redaction] | None, Query(description="What to leave out, as often as needed.")] = None,
    *,
    children: Annotated[bool, Query(description="With the evidence of each child run, each in a folder.")] = True,
) -> Response:
    """Export one signed ZIP archive of the run and its child runs: an auditor checks it without this API."""
    data = await evidence_of(soma, caller, require_own(run, caller), frozenset(redact or ()), children=children)
    name = run.replace("/", "-") + ".evidence.zip"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Response(data, media_type="application/zip", headers=headers)
