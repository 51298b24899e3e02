"""Approvals: what waits for a person, and that person's yes or no.

The decision is made by the run, by Update, so that API, CLI and `temporal workflow signal` go one way. Who decides is
taken from the caller's token and attested by our issuer; the body names nobody.
"""

from typing import Annotated

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict, Field

from api.access import ApprovalReader, Approver
from api.bodies import KeptRoute
from api.problems import responses
from api.routes.paging import Cursor, Limit
from api.state import Soma, State
from api.temporal import update
from capsules.approval import Approval, ApprovalDecision, DecisionMade
from capsules.approval import State as ApprovalState
from capsules.errors import Conflict, Denied
from capsules.records import Page, Principal
from somagent.identity.attestation import Attestation

router = APIRouter(prefix="/v1/approvals", tags=["approvals"], route_class=KeptRoute)

ApprovalId = Annotated[
    str, Path(alias="approval", pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,199}$", examples=["0198c5f0a1b2"])
]


class Comment(BaseModel):
    """Why, for the record."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"comment": "Checked with Ana."}]})

    comment: str = Field("", max_length=2000)


class Answer(BaseModel):
    """What is to be attested: a yes or a no, and why."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"approve": True, "comment": "Fine."}]})

    approve: bool
    comment: str = Field("", max_length=2000)


@router.get("", responses=responses())
async def list_approvals(  # noqa: PLR0913, PLR0917 - a parameter for each filter
    caller: ApprovalReader,
    soma: Soma,
    state: Annotated[ApprovalState | None, Query(description="Only those in this state.")] = None,
    run: Annotated[
        str | None, Query(max_length=255, pattern=r"^[ -~]+$", description="Only those of this run.")
    ] = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> Page[Approval]:
    """List approvals, newest first."""
    async with soma.store.transaction(caller.tenant) as tx:
        return await tx.approvals.list(state=state, run=run, cursor=cursor, limit=limit)


@router.get("/{approval}", responses=responses(404))
async def show_approval(approval: ApprovalId, caller: ApprovalReader, soma: Soma) -> Approval:
    """Show what is asked, of whom, until when, and how it was decided."""
    async with soma.store.transaction(caller.tenant) as tx:
        return await tx.approvals.get(approval)


@router.post("/{approval}/approve", responses=responses(404, 409))
async def approve(approval: ApprovalId, caller: Approver, soma: Soma, body: Comment | None = None) -> Approval:
    """Say yes to exactly this action, once. Whoever asked for the action cannot."""
    return await _decide(soma, caller, approval, comment=(body or Comment()).comment, approving=True)


@router.post("/{approval}/deny", responses=responses(404, 409))
async def deny(approval: ApprovalId, caller: Approver, soma: Soma, body: Comment | None = None) -> Approval:
    """Say no. The persona is told and may try another way."""
    return await _decide(soma, caller, approval, comment=(body or Comment()).comment, approving=False)


@router.post("/{approval}/attestation", status_code=201, responses=responses(404, 409))
async def attest(approval: ApprovalId, caller: Approver, soma: Soma, body: Answer) -> ApprovalDecision:
    """Return the payload of the Update or Signal `approve` or `deny`, for who decides by another way than this API.

    It holds for five minutes, for this approval and this action, and names the caller as who decided.
    """
    async with soma.store.transaction(caller.tenant) as tx:
        asked = await tx.approvals.get(approval)
    return _decision(soma, caller, asked, comment=body.comment, approving=body.approve)


def _decision(soma: State, caller: Principal, asked: Approval, *, comment: str, approving: bool) -> ApprovalDecision:
    """Return what the run is told, with the proof of who says it."""
    _require_decidable(asked, caller)
    attestation = Attestation(
        tenant=caller.tenant,
        subject=caller.subject,
        capabilities=caller.capabilities,
        purpose="approve" if approving else "deny",
        run=asked.run,
        approval=asked.id,
        action=asked.action,
    )
    return ApprovalDecision(
        approval=asked.id, action=asked.action, comment=comment, token=soma.tokens.mint_attestation(attestation)
    )


async def _decide(soma: State, caller: Principal, approval: str, *, comment: str, approving: bool) -> Approval:
    async with soma.store.transaction(caller.tenant) as tx:
        asked = await tx.approvals.get(approval)
    verb = "approve" if approving else "deny"
    decision = _decision(soma, caller, asked, comment=comment, approving=approving)
    # One person's answer is one Update: a retry gets the first answer again, another person's is not mistaken for it.
    made = await update(
        soma.temporal, asked.run, verb, decision, key=f"{approval}/{caller.subject}/{verb}", answer=DecisionMade
    )
    if made.problem:
        raise Conflict(made.problem, approval=approval, state=made.state)
    async with soma.store.transaction(caller.tenant) as tx:
        return await tx.approvals.get(approval)


def _require_decidable(asked: Approval, caller: Principal) -> None:
    """Refuse early what the run would refuse; the run checks all of it again, from the attestation."""
    if asked.state != "pending":
        by = f" by {asked.decided_by!r}" if asked.decided_by else ""
        raise Conflict(f"Approval {asked.id!r} is {asked.state}{by} already.", approval=asked.id, state=asked.state)
    if asked.requested_by == caller.subject:
        raise Denied(
            f"Separation of duties: {caller.subject!r} asked for this action and cannot decide it.", approval=asked.id
        )
    if asked.capability not in caller.capabilities:
        raise Denied(f"This approval needs the capability {asked.capability!r}.", capability=asked.capability)
