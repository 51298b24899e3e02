"""An account as callers read it."""

import datetime as dt

from pydantic import BaseModel

from api.deps import State
from capsules.budgets.account import Account
from capsules.budgets.amounts import Amounts
from somagent.db.repositories.accounts import LedgerEntry


class BudgetView(BaseModel):
    """An account, what it has left, and its last entries, oldest first."""

    account: Account
    left: Amounts
    entries: tuple[LedgerEntry, ...]


async def budget_of(soma: State, tenant: str, account: str, limit: int) -> BudgetView:
    """Return an account as it stands in the month that it is now. Raises NotFound."""
    async with soma.store.transaction(tenant) as tx:
        await tx.accounts.open_period(account, dt.datetime.now(dt.UTC))
        found = await tx.accounts.get(account)
        return BudgetView(account=found, left=found.left, entries=tuple(await tx.accounts.ledger(account, limit)))
