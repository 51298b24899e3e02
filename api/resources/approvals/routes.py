"""Approvals: list, show, approve, deny, edit and attest.

The caller's token says who decides; the body can only name a delegation that the caller uses. The approval says which
capability a decision requires, so these routes require only the capability to read it.
"""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Response

from api.access import ApprovalReader
from api.deps import Cursor, PageLimit, Soma
from api.middleware.bodies import StorableJsonRoute
from api.middleware.policy_headers import POLICY_HEADERS
from api.middleware.problems import responses
from api.resources.approvals import service
from api.resources.approvals.schemas import DecisionBatch, Edit, Reason, Results, ToAttest
from api.run_urls import RECORD_ID
from capsules.approvals.approval import Approval, ApprovalDecision, ApprovalState, ShownApproval
from capsules.approvals.approval_edit import WaitingCall
from capsules.base_model import Page

router = APIRouter(prefix="/v1/approvals", tags=["approvals"], route_class=StorableJsonRoute)

ApprovalId = Annotated[str, Path(alias="approval", pattern=RECORD_ID, examples=["0198c5f0a1b2"])]


@router.get("", responses=responses())
async def list_approvals(  # noqa: PLR0913, PLR0917 - a parameter for each filter
    caller: ApprovalReader,
    soma: Soma,
    state: Annotated[ApprovalState | None, Query(description="Only those in this state.")] = None,
    run: Annotated[
        str | None, Query(max_length=255, pattern=r"^[ -~]+$", description="Only those of this run.")
    ] = None,
    cursor: Cursor = None,
    limit: PageLimit = 50,
) -> Page[Approval]:
    """List approvals, newest first."""
    async with soma.db.transaction(caller.tenant) as tx:
        return await tx.approvals.list(state=state, run=run, cursor=cursor, limit=limit)


@router.post("/decide", responses={200: POLICY_HEADERS, **responses()})
async def decide(body: DecisionBatch, caller: ApprovalReader, soma: Soma, response: Response) -> Results:
    """Decide up to a hundred approvals. A refused decision has its problem in the results and stops no other one."""
    return await service.decide_all(soma, caller, body.decisions, response)


@router.get("/{approval}", responses=responses(404))
async def show_approval(approval: ApprovalId, caller: ApprovalReader, soma: Soma) -> ShownApproval:
    """Show the action, the demands, the expiry, who could decide it now, and how it was decided."""
    return await service.show(soma, caller, approval)


@router.get("/{approval}/arguments", responses=responses(404, 409))
async def show_arguments(approval: ApprovalId, caller: ApprovalReader, soma: Soma) -> WaitingCall:
    """Show the arguments of the waiting tool call, as the run holds them."""
    return await service.waiting_call(soma, caller, approval)


@router.post("/{approval}/approve", responses={200: POLICY_HEADERS, **responses(404, 409)})
async def approve(
    approval: ApprovalId, caller: ApprovalReader, soma: Soma, response: Response, body: Reason | None = None
) -> Approval:
    """Approve this action, once. The principal who started the run cannot."""
    asked = await service.load(soma, caller, approval, response)
    return await service.answer(soma, caller, asked, body or Reason(), approving=True)


@router.post("/{approval}/deny", responses={200: POLICY_HEADERS, **responses(404, 409)})
async def deny(
    approval: ApprovalId, caller: ApprovalReader, soma: Soma, response: Response, body: Reason | None = None
) -> Approval:
    """Deny this action. The persona gets the denial and may try another way."""
    asked = await service.load(soma, caller, approval, response)
    return await service.answer(soma, caller, asked, body or Reason(), approving=False)


@router.post("/{approval}/edit", responses={200: POLICY_HEADERS, **responses(404, 409)})
async def edit(approval: ApprovalId, caller: ApprovalReader, soma: Soma, response: Response, body: Edit) -> Approval:
    """Change the arguments of a waiting tool call. The gate evaluates the edited action again, under its own digest.

    If the gate asks again, your answer counts for the new approval.
    """
    return await service.edit(soma, caller, await service.load(soma, caller, approval, response), body)


@router.post("/{approval}/attestation", status_code=201, responses={201: POLICY_HEADERS, **responses(404, 409)})
async def attest(
    approval: ApprovalId, caller: ApprovalReader, soma: Soma, response: Response, body: ToAttest
) -> ApprovalDecision:
    """Return the payload of the Update or Signal `approve` or `deny`, for a decision without this API.

    It is valid for five minutes, for this approval and this action, and names the caller as the approver.
    """
    asked = await service.load(soma, caller, approval, response)
    return await service.attested(soma, caller, asked, body, approving=body.approve)
