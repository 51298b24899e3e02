"""Policy: the constitution in force, and dry run, explanation, backtest, check, proof and comparison."""

from typing import Any

from fastapi import APIRouter, Request, Response

from api.access import PolicyReader
from api.deps import Soma
from api.middleware.bodies import StorableJsonRoute
from api.middleware.policy_headers import POLICY_HEADERS, set_policy_headers
from api.middleware.problems import responses
from api.resources.policy import service
from api.resources.policy.schemas import (
    BacktestAnswer,
    DryRun,
    DryRunResult,
    ToBacktest,
    ToCompare,
    ToExplain,
    ToProve,
)
from capsules.constitutions.constitution import ConstitutionRecord
from capsules.constitutions.proof import CheckedConstitution, Difference, Explanation, Review
from policy.prove import review
from policy.prove.comparison import compare
from somagent.capsule_files.document import read as read_file

router = APIRouter(prefix="/v1", tags=["policy"], route_class=StorableJsonRoute)

TOTAL_SECONDS = 60.0

FILE_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": {"type": "object", "description": "A constitution or an overlay."}},
            "application/yaml": {"schema": {"type": "string", "description": "Its file."}},
        },
    }
}


@router.get("/constitution", responses=responses())
async def show_constitution(caller: PolicyReader, soma: Soma) -> ConstitutionRecord:
    """Show the constitution that is active for the caller's tenant, with its digests and signatures."""
    return await soma.db.constitutions.active(caller.tenant)


@router.post("/policy/dry-run", responses={200: POLICY_HEADERS, **responses(404)})
async def dry_run(body: DryRun, caller: PolicyReader, soma: Soma, response: Response) -> DryRunResult:
    """Evaluate an action, or each action that a capsule declares, without any effect; explain what is not allowed."""
    result = await service.dry_run(soma, caller, body)
    set_policy_headers(response, *(one.verdict for one in result.judged))
    return result


@router.post("/policy/check", responses=responses(400), openapi_extra=FILE_BODY)
async def check(request: Request, caller: PolicyReader, soma: Soma) -> CheckedConstitution:
    """Check a constitution, or an overlay on the active one: every problem at once, with clause and position."""
    text = (await request.body()).decode("utf-8", errors="replace")
    is_json = "json" in request.headers.get("content-type", "")
    document = read_file(text, filename="constitution.json" if is_json else "constitution.yaml").value
    overlays = [document] if document.get("kind") == "Overlay" else []
    base = await service.document_of(soma, caller, "active") if overlays else document

    def work() -> CheckedConstitution:
        found = review.load_candidate(base, overlays)
        metadata = document["metadata"]
        kind, name, version = str(document["kind"]), str(metadata["name"]), str(metadata["version"])
        return review.summarize(found, kind=kind, name=name, version=version)

    return await service.prove_work(soma, work)


@router.post("/policy/prove", responses=responses(404))
async def prove(body: ToProve, caller: PolicyReader, soma: Soma) -> Review:
    """Prove what activation requires: each guarantee is proved, refuted by a counterexample, or not proved in time."""
    document = await service.document_of(soma, caller, body.constitution)

    def work() -> Review:
        found = review.load_candidate(document, body.overlays)
        return review.review(found, seconds=body.seconds, total=TOTAL_SECONDS)

    return await service.prove_work(soma, work)


@router.post("/policy/diff", responses=responses(404))
async def diff(body: ToCompare, caller: PolicyReader, soma: Soma) -> Difference:
    """Compare two constitutions: for each of the six kinds of difference an action that shows it, or none."""
    old = await service.document_of(soma, caller, body.old)
    new = await service.document_of(soma, caller, body.new)

    def work() -> Difference:
        before, after = review.load_candidate(old), review.load_candidate(new, body.overlays)
        return compare(before.policy, after.policy, seconds=body.seconds)

    return await service.prove_work(soma, work)


@router.post("/policy/explain", responses=responses(404))
async def explain(body: ToExplain, caller: PolicyReader, soma: Soma) -> Explanation:
    """Explain a decision: the clauses that force it, the smallest change that would help, and who can approve."""
    return await service.explain(soma, caller, body)


@router.post("/policy/backtest", responses=responses(404))
async def backtest(body: ToBacktest, caller: PolicyReader, soma: Soma) -> BacktestAnswer:
    """Evaluate what real runs did under a candidate: the first action of each that it would decide differently."""
    return await service.backtest(soma, caller, body)
