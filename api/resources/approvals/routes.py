"""Approvals: list, show, approve, deny, edit and attest.

The token says who decides; the body can only name a delegation that the caller uses. Each approval says which
capability a decision requires, so these routes require only the capability to read approvals.
"""

from typing import Annotated

from fastapi import Query, Response

from api.access import ApprovalReader
from api.deps import StateDep
from api.middleware.policy_headers import POLICY_HEADERS
from api.middleware.problems import resource_router, responses
from api.parameters import RUN_ID, Cursor, PageLimit, RecordId
from api.resources.approvals import service
from api.resources.approvals.schemas import (
    ApprovalResponse,
    ArgumentEditRequest,
    AttestationRequest,
    DecisionBatchRequest,
    DecisionBatchResponse,
    DecisionRequest,
)
from capsules.approvals.approval import Approval, ApprovalDecision, ApprovalState
from capsules.approvals.approval_edit import WaitingCall
from capsules.base_model import Page

router = resource_router("/v1/approvals", "approvals")


@router.get("")
async def list_approvals(  # noqa: PLR0913, PLR0917 - a parameter for each filter
    caller: ApprovalReader,
    state: StateDep,
    wanted: Annotated[ApprovalState | None, Query(alias="state", description="Only approvals in this state.")] = None,
    run: Annotated[str | None, Query(max_length=255, pattern=RUN_ID, description="Only approvals of this run.")] = None,
    cursor: Cursor = None,
    limit: PageLimit = 50,
) -> Page[Approval]:
    """List approvals, newest first."""
    async with state.db.transaction(caller.tenant) as tx:
        return await tx.approvals.list(state=wanted, run=run, cursor=cursor, limit=limit)


@router.post("/decide", responses={200: POLICY_HEADERS})
async def decide(
    body: DecisionBatchRequest, caller: ApprovalReader, state: StateDep, response: Response
) -> DecisionBatchResponse:
    """Decide up to a hundred approvals. Each decision succeeds or fails by itself; `results` has the problems."""
    return await service.decide_all(state, caller, body.decisions, response)


@router.get("/{approval}", responses=responses(404))
async def show_approval(approval: RecordId, caller: ApprovalReader, state: StateDep) -> ApprovalResponse:
    """Show the action, the demands, the expiry, the principals who could decide it now, and the decision."""
    return await service.show(state, caller, approval)


@router.get("/{approval}/arguments", responses=responses(404, 409))
async def show_arguments(approval: RecordId, caller: ApprovalReader, state: StateDep) -> WaitingCall:
    """Show the arguments of the waiting tool call, read from the run."""
    return await service.waiting_call(state, caller, approval)


@router.post("/{approval}/approve", responses={200: POLICY_HEADERS, **responses(404, 409)})
async def approve(
    approval: RecordId, caller: ApprovalReader, state: StateDep, response: Response, body: DecisionRequest | None = None
) -> Approval:
    """Approve this action, once. The principal who started the run cannot."""
    loaded = await service.load(state, caller, approval, response)
    return await service.decide(state, caller, loaded, body or DecisionRequest(), approve=True)


@router.post("/{approval}/deny", responses={200: POLICY_HEADERS, **responses(404, 409)})
async def deny(
    approval: RecordId, caller: ApprovalReader, state: StateDep, response: Response, body: DecisionRequest | None = None
) -> Approval:
    """Deny this action. The persona gets the denial and may try another way."""
    loaded = await service.load(state, caller, approval, response)
    return await service.decide(state, caller, loaded, body or DecisionRequest(), approve=False)


@router.post("/{approval}/edit", responses={200: POLICY_HEADERS, **responses(404, 409)})
async def edit(
    approval: RecordId, caller: ApprovalReader, state: StateDep, response: Response, body: ArgumentEditRequest
) -> Approval:
    """Change the arguments of a waiting tool call. The gate evaluates the edited action again, under its own digest.

    If the gate asks again, your edit counts as your approval of the new request.
    """
    return await service.edit(state, caller, await service.load(state, caller, approval, response), body)


@router.post("/{approval}/attestation", status_code=201, responses={201: POLICY_HEADERS, **responses(404, 409)})
async def attest(
    approval: RecordId, caller: ApprovalReader, state: StateDep, response: Response, body: AttestationRequest
) -> ApprovalDecision:
    """Return the payload of the Update or Signal `approve` or `deny`, for a decision without this API.

    It is valid for five minutes, for this approval and this action, and names the caller as the approver.
    """
    loaded = await service.load(state, caller, approval, response)
    return await service.attest_decision(state, caller, loaded, body, approve=body.approve)
