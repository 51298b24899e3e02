"""Policy: the constitution in force, and dry run, explanation, backtest, check, proof and comparison."""

from fastapi import Request, Response

from api.access import PolicyReader
from api.deps import StateDep
from api.middleware.policy_headers import POLICY_HEADERS, set_policy_headers
from api.middleware.problems import resource_router, responses
from api.parameters import file_body
from api.resources.policy import schemas, service
from capsules.constitutions.constitution import ConstitutionRecord
from capsules.constitutions.proof import CheckedConstitution, Difference, Explanation, Review

router = resource_router("/v1", "policy")

FILE_BODY = file_body({"type": "object", "description": "A constitution or an overlay."}, "The file as YAML.")


@router.get("/constitution")
async def show_constitution(caller: PolicyReader, state: StateDep) -> ConstitutionRecord:
    """Show the constitution that is active for the caller's tenant, with its digests and signatures."""
    return await state.db.constitutions.active(caller.tenant)


@router.post("/policy/dry-run", responses={200: POLICY_HEADERS, **responses(404)})
async def dry_run(
    body: schemas.DryRunRequest, caller: PolicyReader, state: StateDep, response: Response
) -> schemas.DryRunResponse:
    """Evaluate an action, or each action that a capsule declares, without any effect. Explain each ask and deny."""
    result = await service.dry_run(state, caller, body)
    set_policy_headers(response, *(one.verdict for one in result.judged))
    return result


@router.post("/policy/check", responses=responses(400), openapi_extra=FILE_BODY)
async def check(request: Request, caller: PolicyReader, state: StateDep) -> CheckedConstitution:
    """Check a constitution, or an overlay on the active one. `problems` lists every error with clause and position."""
    text = (await request.body()).decode("utf-8", errors="replace")
    is_json = "json" in request.headers.get("content-type", "")
    return await service.check(state, caller, text, filename="constitution.json" if is_json else "constitution.yaml")


@router.post("/policy/prove", responses=responses(404))
async def prove(body: schemas.ProofRequest, caller: PolicyReader, state: StateDep) -> Review:
    """Prove what activation requires. Each guarantee is proved, refuted by a counterexample, or not proved in time."""
    return await service.prove(state, caller, body)


@router.post("/policy/diff", responses=responses(404))
async def diff(body: schemas.ComparisonRequest, caller: PolicyReader, state: StateDep) -> Difference:
    """Compare two constitutions: for each of the six kinds of difference, an action that shows it, or none."""
    return await service.compare(state, caller, body)


@router.post("/policy/explain", responses=responses(404))
async def explain(body: schemas.ExplanationRequest, caller: PolicyReader, state: StateDep) -> Explanation:
    """Explain a decision: the clauses that force it, the smallest change that would help, and who can approve."""
    return await service.explain(state, caller, body)


@router.post("/policy/backtest", responses=responses(404))
async def backtest(body: schemas.BacktestRequest, caller: PolicyReader, state: StateDep) -> schemas.BacktestResponse:
    """Evaluate the actions of recorded runs under a candidate. Show the first flip of each run."""
    return await service.backtest(state, caller, body)
