"""Projects: accounts below the tenant's account, from which runs take their budget."""

import datetime as dt
from typing import Annotated

from fastapi import Path

from api.access import BudgetRaiser, BudgetReader
from api.deps import Soma
from api.middleware.problems import resource_router, responses
from api.parameters import PageLimit
from api.resources.budgets.schemas import BudgetResponse
from api.resources.budgets.service import read_account
from capsules.base_model import Page
from capsules.budgets.account import Account, AccountTerms
from capsules.names import Name

router = resource_router("/v1/projects", "budgets")

ProjectPath = Annotated[Name, Path(description="The project's name.", examples=["website"])]


@router.get("")
async def list_projects(caller: BudgetReader, soma: Soma) -> Page[Account]:
    """List the open projects by name, with their limits and amounts spent."""
    async with soma.db.transaction(caller.tenant) as tx:
        await tx.accounts.open_period(f"tenant:{caller.tenant}", dt.datetime.now(dt.UTC))
        return Page(items=await tx.accounts.projects())


@router.get("/{project}", responses=responses(404))
async def show_project(project: ProjectPath, caller: BudgetReader, soma: Soma, limit: PageLimit = 50) -> BudgetResponse:
    """Show a project's account and its last entries."""
    return await read_account(soma, caller.tenant, f"project:{project}", limit)


@router.put("/{project}", responses=responses(402, 404, 409))
async def set_project(project: ProjectPath, body: AccountTerms, caller: BudgetRaiser, soma: Soma) -> Account:
    """Set the allowance of a project, taken from the tenant's budget. A project that does not exist is opened.

    The allowance cannot be less than the amounts spent and reserved. A project at its limit starts no further action.
    """
    async with soma.db.transaction(caller.tenant) as tx:
        return await tx.accounts.allow(f"project:{project}", f"tenant:{caller.tenant}", body, by=caller.subject)


@router.delete("/{project}", status_code=204, responses=responses(404, 409))
async def close_project(project: ProjectPath, caller: BudgetRaiser, soma: Soma) -> None:
    """Close a project without open runs. Its remaining budget returns to the tenant; its name cannot be used again."""
    async with soma.db.transaction(caller.tenant) as tx:
        await tx.audit.set_actor(caller.subject)
        await tx.accounts.retire(f"project:{project}")
