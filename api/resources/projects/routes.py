"""Projects: accounts below the tenant's, from which runs take their budget."""

import datetime as dt
from typing import Annotated

from fastapi import APIRouter, Path

from api.access import BudgetRaiser, BudgetReader
from api.deps import PageLimit, Soma
from api.middleware.bodies import StorableJsonRoute
from api.middleware.problems import responses
from api.resources.budgets.service import BudgetView, budget_of
from capsules.base_model import Page
from capsules.budgets.account import Account, AccountTerms
from capsules.names import Name

router = APIRouter(prefix="/v1/projects", tags=["budgets"], route_class=StorableJsonRoute)

ProjectPath = Annotated[Name, Path(description="The project's name.", examples=["website"])]


@router.get("", responses=responses())
async def list_projects(caller: BudgetReader, soma: Soma) -> Page[Account]:
    """List the open projects by name, with their limits and amounts spent."""
    async with soma.db.transaction(caller.tenant) as tx:
        await tx.accounts.open_period(f"tenant:{caller.tenant}", dt.datetime.now(dt.UTC))
        return Page(items=await tx.accounts.projects())


@router.get("/{project}", responses=responses(404))
async def show_project(project: ProjectPath, caller: BudgetReader, soma: Soma, limit: PageLimit = 50) -> BudgetView:
    """Show a project's account and its last entries."""
    return await budget_of(soma, caller.tenant, f"project:{project}", limit)


@router.put("/{project}", responses=responses(402, 404, 409))
async def set_project(project: ProjectPath, body: AccountTerms, caller: BudgetRaiser, soma: Soma) -> Account:
    """Set what a project may spend, from the tenant's budget; open the project if there is none.

    The allowance never falls below what is spent and reserved; at that limit nothing further begins.
    """
    async with soma.db.transaction(caller.tenant) as tx:
        return await tx.accounts.allow(f"project:{project}", f"tenant:{caller.tenant}", body, by=caller.subject)


@router.delete("/{project}", status_code=204, responses=responses(404, 409))
async def close_project(project: ProjectPath, caller: BudgetRaiser, soma: Soma) -> None:
    """Close a project without open runs; its remaining budget returns to the tenant. Its name cannot be used again."""
    async with soma.db.transaction(caller.tenant) as tx:
        await tx.audit.set_actor(caller.subject)
        await tx.accounts.retire(f"project:{project}")
