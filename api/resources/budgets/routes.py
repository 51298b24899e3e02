"""Budgets: the accounts of the tenant and of runs, the check of the ledger, and raises."""

from typing import Annotated

from fastapi import APIRouter, Header
from pydantic import BaseModel

from api.access import BudgetRaiser, BudgetReader
from api.deps import PageLimit, Soma
from api.middleware.bodies import StorableJsonRoute
from api.middleware.policy_headers import POLICY_HEADERS, SetsLastVerdictHeaders
from api.middleware.problems import responses
from api.resources.budgets import service
from api.resources.budgets.service import BudgetView
from api.resources.runs import service as runs
from api.run_urls import KEY, RunPath
from capsules.approvals.approval import BudgetRaised
from capsules.budgets.amounts import Amounts
from somagent.db.repositories.accounts import Breach

router = APIRouter(prefix="/v1/budgets", tags=["budgets"], route_class=StorableJsonRoute)


class LedgerCheck(BaseModel):
    """The breaches in the tenant's ledger; it holds when there are none."""

    holds: bool
    breaches: tuple[Breach, ...]


@router.get("/tenant", responses=responses(404))
async def tenant_budget(caller: BudgetReader, soma: Soma, limit: PageLimit = 50) -> BudgetView:
    """Show the tenant's account, from which every run's budget is carved."""
    return await service.budget_of(soma, caller.tenant, f"tenant:{caller.tenant}", limit)


@router.get("/runs/{run}", responses=responses(404))
async def run_budget(run: RunPath, caller: BudgetReader, soma: Soma, limit: PageLimit = 50) -> BudgetView:
    """Show a run's account."""
    await runs.get(soma, caller, run)
    return await service.budget_of(soma, caller.tenant, f"run:{run}", limit)


@router.get("/check", responses=responses())
async def check_ledger(caller: BudgetReader, soma: Soma) -> LedgerCheck:
    """Check the ledger: entries add up to balances, and parents hold what their children were given."""
    async with soma.db.transaction(caller.tenant) as tx:
        found = await tx.accounts.breaches()
    return LedgerCheck(holds=not found, breaches=found)


@router.post(
    "/runs/{run}/raise",
    responses={200: POLICY_HEADERS, **responses(402, 404, 409)},
    dependencies=[SetsLastVerdictHeaders],
)
async def raise_budget(
    run: RunPath,
    body: Amounts,
    caller: BudgetRaiser,
    soma: Soma,
    idempotency_key: Annotated[str | None, Header(pattern=KEY, description="The same key is the same raise.")] = None,
) -> BudgetRaised:
    """Add amounts to a run's limit, carved from its parent account. A run that waits for budget continues."""
    return await service.raise_budget(soma, caller, run, body, idempotency_key)
