"""Budgets: the accounts of the tenant and of runs, the check of the ledger, and raises of a run's limit."""

from api.access import BudgetRaiser, BudgetReader
from api.deps import Soma
from api.middleware.policy_headers import POLICY_HEADERS, SET_LAST_VERDICT_HEADERS
from api.middleware.problems import resource_router, responses
from api.parameters import IdempotencyKey, PageLimit
from api.resources.budgets import service
from api.resources.budgets.schemas import BudgetResponse, LedgerCheckResponse
from api.resources.runs import service as runs
from api.run_urls import RunPath
from capsules.approvals.approval import BudgetRaised
from capsules.budgets.amounts import Amounts

router = resource_router("/v1/budgets", "budgets")


@router.get("/tenant", responses=responses(404))
async def tenant_budget(caller: BudgetReader, soma: Soma, limit: PageLimit = 50) -> BudgetResponse:
    """Show the tenant's account, from which the budgets of runs are taken."""
    return await service.read_account(soma, caller.tenant, f"tenant:{caller.tenant}", limit)


@router.get("/runs/{run}", responses=responses(404))
async def run_budget(run: RunPath, caller: BudgetReader, soma: Soma, limit: PageLimit = 50) -> BudgetResponse:
    """Show a run's account."""
    await runs.get(soma, caller, run)
    return await service.read_account(soma, caller.tenant, f"run:{run}", limit)


@router.get("/check")
async def check_ledger(caller: BudgetReader, soma: Soma) -> LedgerCheckResponse:
    """Check the ledger: each balance is the sum of its entries, and each parent covers what its children were given."""
    async with soma.db.transaction(caller.tenant) as tx:
        breaches = await tx.accounts.breaches()
    return LedgerCheckResponse(holds=not breaches, breaches=breaches)


@router.post(
    "/runs/{run}/raise",
    responses={200: POLICY_HEADERS, **responses(402, 404, 409)},
    dependencies=[SET_LAST_VERDICT_HEADERS],
)
async def raise_budget(
    run: RunPath, body: Amounts, caller: BudgetRaiser, soma: Soma, idempotency_key: IdempotencyKey = None
) -> BudgetRaised:
    """Add amounts to a run's limit, taken from its parent account. A run that waits for budget continues."""
    return await service.raise_budget(soma, caller, run, body, idempotency_key)
