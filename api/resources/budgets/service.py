"""Budget accounts as callers read them, and raises of a run's limit."""

import datetime as dt
import uuid

from pydantic import BaseModel

from api.access import attest
from api.deps import State
from api.resources.runs.service import get_open
from api.temporal import update
from capsules.approvals.approval import BudgetRaised, RaiseBudget
from capsules.budgets.account import Account
from capsules.budgets.amounts import Amounts
from capsules.errors import BudgetExhausted, Invalid
from capsules.identity.principal import Principal
from somagent.db.gate.decisions import PostgresDecisions
from somagent.db.repositories.accounts import LedgerEntry


class BudgetView(BaseModel):
    """An account, the amounts left, and its last entries, oldest first."""

    account: Account
    left: Amounts
    entries: tuple[LedgerEntry, ...]


async def budget_of(soma: State, tenant: str, account: str, limit: int) -> BudgetView:
    """Return an account as it stands in the current month. Raises NotFound."""
    async with soma.db.transaction(tenant) as tx:
        await tx.accounts.open_period(account, dt.datetime.now(dt.UTC))
        found = await tx.accounts.get(account)
        return BudgetView(account=found, left=found.left, entries=tuple(await tx.accounts.ledger(account, limit)))


async def raise_budget(
    soma: State, caller: Principal, run: str, amounts: Amounts, idempotency_key: str | None
) -> BudgetRaised:
    """Add amounts to a run's limit, from its parent account. The same key is the same raise.

    Raises Invalid for amounts of zero, BudgetExhausted when the parent has less, Conflict when the run has ended,
    NotFound, or Unavailable when no worker answers.
    """
    if amounts == Amounts():
        raise Invalid(
            "A raise of nothing changes nothing.", problems=[{"path": "body", "message": "all amounts are 0"}]
        )
    await get_open(soma, caller, run)
    request = RaiseBudget(amounts=amounts, token=attest(soma, caller, "raise_budget", run, amounts=amounts))
    key = f"raise/{caller.subject}/{idempotency_key or uuid.uuid4().hex}"
    async with soma.db.transaction(caller.tenant) as tx:
        application = await tx.applications.find(run)
    if application is None:
        raised = await update(soma.temporal, run, "raise_budget", request, key=key, answer=BudgetRaised)
    else:  # the workflow of a governed application has no such Update; its next action finds the new limit
        raised = await PostgresDecisions(soma.db, soma.tokens).raise_budget(run, caller.tenant, request, key=key)
    if raised.problem:
        raise BudgetExhausted(raised.problem, run=run)
    return raised
