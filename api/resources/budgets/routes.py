"""Budgets: the accounts of the tenant, its projects and runs, the check of the ledger, and raises of a run's limit."""

from typing import Annotated

from fastapi import Path

from api.access import BudgetRaiser, BudgetReader
from api.deps import StateDep
from api.middleware.policy_headers import POLICY_HEADERS, SET_LAST_VERDICT_HEADERS
from api.middleware.problems import resource_router, responses
from api.parameters import IdempotencyKey, PageLimit
from api.resources.budgets import service
from api.resources.budgets.schemas import BudgetResponse, LedgerCheckResponse
from api.resources.runs import service as runs
from api.run_urls import RunPath
from capsules.approvals.approval import RaiseBudgetResult
from capsules.base_model import Page
from capsules.budgets.account import Account, AccountTerms
from capsules.budgets.amounts import Amounts
from capsules.names import Name

router = resource_router("/v1/budgets", "budgets")
projects = resource_router("/v1/projects", "budgets")

ProjectPath = Annotated[Name, Path(description="The project's name.", examples=["website"])]


@router.get("/tenant", responses=responses(404))
async def tenant_budget(caller: BudgetReader, state: StateDep, limit: PageLimit = 50) -> BudgetResponse:
    """Show the tenant's account, from which the budgets of runs are taken."""
    return await service.read_account(state, caller.tenant, f"tenant:{caller.tenant}", limit)


@router.get("/runs/{run}", responses=responses(404))
async def run_budget(run: RunPath, caller: BudgetReader, state: StateDep, limit: PageLimit = 50) -> BudgetResponse:
    """Show a run's account."""
    await runs.get(state, caller, run)
    return await service.read_account(state, caller.tenant, f"run:{run}", limit)


@router.get("/check")
async def check_ledger(caller: BudgetReader, state: StateDep) -> LedgerCheckResponse:
    """Check the ledger: each balance is the sum of its entries, and each parent covers what its children were given."""
    async with state.db.transaction(caller.tenant) as tx:
        breaches = await tx.accounts.breaches()
    return LedgerCheckResponse(holds=not breaches, breaches=breaches)


@router.post(
    "/runs/{run}/raise",
    responses={200: POLICY_HEADERS, **responses(402, 404, 409)},
    dependencies=[SET_LAST_VERDICT_HEADERS],
)
async def raise_budget(
    run: RunPath, body: Amounts, caller: BudgetRaiser, state: StateDep, idempotency_key: IdempotencyKey = None
) -> RaiseBudgetResult:
    """Add amounts to a run's limit, taken from its parent account. A run that waits for budget continues."""
    return await service.raise_budget(state, caller, run, body, idempotency_key)


@projects.get("")
async def list_projects(caller: BudgetReader, state: StateDep) -> Page[Account]:
    """List the open projects by name, with their limits and amounts spent."""
    async with state.db.transaction(caller.tenant) as tx:
        await tx.accounts.open_period(f"tenant:{caller.tenant}")
        return Page(items=await tx.accounts.projects())


@projects.get("/{project}", responses=responses(404))
async def show_project(
    project: ProjectPath, caller: BudgetReader, state: StateDep, limit: PageLimit = 50
) -> BudgetResponse:
    """Show a project's account and its last entries."""
    return await service.read_account(state, caller.tenant, f"project:{project}", limit)


@projects.put("/{project}", responses=responses(402, 404, 409))
async def set_project(project: ProjectPath, body: AccountTerms, caller: BudgetRaiser, state: StateDep) -> Account:
    """Set the allowance of a project, taken from the tenant's budget. A project that does not exist is opened.

    The allowance cannot be less than the amounts spent and reserved. A project at its limit starts no further action.
    """
    async with state.db.transaction(caller.tenant) as tx:
        return await tx.accounts.allow(f"project:{project}", f"tenant:{caller.tenant}", body, by=caller.subject)


@projects.delete("/{project}", status_code=204, responses=responses(404, 409))
async def close_project(project: ProjectPath, caller: BudgetRaiser, state: StateDep) -> None:
    """Close a project without open runs. Its remaining budget returns to the tenant; its name cannot be used again."""
    async with state.db.transaction(caller.tenant) as tx:
        await tx.audit.set_actor(caller.subject)
        await tx.accounts.retire(f"project:{project}")
