"""Budgets: what the tenant and its runs may spend, have spent and hold, and a raise by who may."""

import uuid
from typing import Annotated

from fastapi import APIRouter, Header
from pydantic import BaseModel

from api.access import BudgetRaiser, BudgetReader
from api.deps import Limit, Soma
from api.middleware.bodies import StorableJsonRoute
from api.middleware.policy_headers import POLICY_HEADERS, SetsLastVerdictHeaders
from api.middleware.problems import responses
from api.resources.budgets.schemas import BudgetView, budget_of
from api.resources.runs.routes import known
from api.run_urls import KEY, RunPath
from api.temporal import update
from capsules.approvals.approval import BudgetRaised, RaiseBudget
from capsules.budgets.amounts import Amounts
from capsules.errors import BudgetExhausted, Conflict, Invalid
from capsules.runs.run import TERMINAL
from somagent.db.gate.decisions import PostgresDecisions
from somagent.db.repositories.accounts import Breach
from somagent.identity.tokens import Attestation

router = APIRouter(prefix="/v1/budgets", tags=["budgets"], route_class=StorableJsonRoute)


class LedgerCheck(BaseModel):
    """What does not add up in the tenant's ledger. No breach is the right answer."""

    holds: bool
    breaches: tuple[Breach, ...]


@router.get("/tenant", responses=responses(404))
async def tenant_budget(caller: BudgetReader, soma: Soma, limit: Limit = 50) -> BudgetView:
    """Show the tenant's account, from which every run's budget is carved."""
    return await budget_of(soma, caller.tenant, f"tenant:{caller.tenant}", limit)


@router.get("/runs/{run}", responses=responses(404))
async def run_budget(run: RunPath, caller: BudgetReader, soma: Soma, limit: Limit = 50) -> BudgetView:
    """Show a run's account."""
    await known(soma, caller, run)
    return await budget_of(soma, caller.tenant, f"run:{run}", limit)


@router.get("/check", responses=responses())
async def check_ledger(caller: BudgetReader, soma: Soma) -> LedgerCheck:
    """Check the laws of the ledger: entries add up to balances, parents hold what their children were given."""
    async with soma.store.transaction(caller.tenant) as tx:
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
    """Add amounts to a run's limit, carved from its parent account. A run that waits for budget goes on."""
    if body == Amounts():
        raise Invalid(
            "A raise of nothing changes nothing.", problems=[{"path": "body", "message": "all amounts are 0"}]
        )
    record = await known(soma, caller, run)
    if record.status in TERMINAL:
        raise Conflict(f"Run {run!r} has ended: it is {record.status}.", run=run, status=record.status)
    attestation = Attestation(
        tenant=caller.tenant,
        subject=caller.subject,
        capabilities=caller.capabilities,
        purpose="raise_budget",
        run=run,
        amounts=body,
    )
    request = RaiseBudget(amounts=body, token=soma.tokens.mint_attestation(attestation))
    key = f"raise/{caller.subject}/{idempotency_key or uuid.uuid4().hex}"
    async with soma.store.transaction(caller.tenant) as tx:
        foreign = await tx.applications.find(run)
    if foreign is None:
        raised = await update(soma.temporal, run, "raise_budget", request, key=key, answer=BudgetRaised)
    else:  # its workflow knows nothing of us; the same checks, and its next action finds the money
        raised = await PostgresDecisions(soma.store, soma.tokens).raise_budget(run, caller.tenant, request, key=key)
    if raised.problem:
        raise BudgetExhausted(raised.problem, run=run)
    return raised
