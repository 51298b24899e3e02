"""Work of the budget routes: read an account, and raise a run's limit."""

import uuid

from api.access import attest
from api.deps import State
from api.resources.budgets.schemas import BudgetResponse
from api.resources.runs.service import get_open
from api.temporal import update
from capsules.approvals.approval import RaiseBudget, RaiseBudgetResult
from capsules.budgets.amounts import Amounts
from capsules.errors import BudgetExhausted, Invalid
from capsules.identity.principal import Principal


async def read_account(state: State, tenant: str, account_id: str, limit: int) -> BudgetResponse:
    """Return an account of the current month with its last `limit` entries. Raises NotFound."""
    async with state.db.transaction(tenant) as tx:
        await tx.accounts.open_period(account_id)
        account = await tx.accounts.get(account_id)
        entries = tuple(await tx.accounts.ledger(account_id, limit))
    return BudgetResponse(account=account, left=account.left, entries=entries)


async def raise_budget(
    state: State, caller: Principal, run: str, amounts: Amounts, idempotency_key: str | None
) -> RaiseBudgetResult:
    """Add amounts to a run's limit, from its parent account. A repeated call with the same key adds them once.

    Raises Invalid when all amounts are 0, BudgetExhausted when the parent has less, Conflict when the run has ended,
    NotFound, or Unavailable when no worker answers.
    """
    if amounts == Amounts():
        problem = {"path": "body", "message": "all amounts are 0"}
        raise Invalid("All amounts of the raise are 0. Give at least one amount above 0.", problems=[problem])
    await get_open(state, caller, run)
    key = f"raise/{caller.subject}/{idempotency_key or uuid.uuid4().hex}"
    # The ledger raises once for each record, however often the request or its message is repeated.
    token = attest(state, caller, "raise_budget", run, amounts=amounts, record=f"{run}/{key}")
    request = RaiseBudget(amounts=amounts, token=token)
    async with state.db.transaction(caller.tenant) as tx:
        application = await tx.applications.find(run)
    if application is None:
        raised = await update(state.temporal, run, "raise_budget", request, key=key, answer=RaiseBudgetResult)
    else:  # the workflow of a governed application has no such Update; its next action reads the new limit
        raised = await state.approval_decisions.raise_budget(run, caller.tenant, request)
    if raised.problem:
        raise BudgetExhausted(raised.problem, run=run)
    return raised
