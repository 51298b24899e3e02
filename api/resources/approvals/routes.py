"""Approvals: what waits for a person, who may decide it, and that person's yes, no, or other arguments.

Who decides is taken from the caller's token and attested by our issuer; the body names nobody, except whose lent right
the caller uses. Which capability it takes is said by the approval itself, so these routes ask only that one may see it.
"""

import asyncio
import datetime as dt
import logging
import uuid
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from api.access import ApprovalReader
from api.deps import Cursor, Limit, Soma, State
from api.middleware.bodies import KeptRoute
from api.middleware.policy_headers import TOLD, tell_asked
from api.middleware.problems import Problem, document, responses
from api.resources.approvals import service as deciding
from api.temporal import query
from capsules.approvals.approval import Approval, ApprovalDecision, Said, ShownApproval
from capsules.approvals.approval import State as ApprovalState
from capsules.approvals.approval_edit import WaitingCall, WaitingCalls
from capsules.approvals.delegation import Subject
from capsules.errors import Conflict, NotFound, SomaError
from capsules.read_models import Page, Principal

router = APIRouter(prefix="/v1/approvals", tags=["approvals"], route_class=KeptRoute)
log = logging.getLogger(__name__)

AT_ONCE = 20
Id = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,199}$")]
ApprovalId = Annotated[
    str, Path(alias="approval", pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,199}$", examples=["0198c5f0a1b2"])
]
Comment = Annotated[str, Field(max_length=2000, description="Why, for the record.")]
OnBehalfOf = Annotated[
    Subject | None,
    Field(description="Who lent you the right. Unset: your own right, else any that was lent to you."),
]


class Reason(BaseModel):
    """Why, for the record, and by whose right."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"comment": "Checked with Ana."}]})

    comment: Comment = ""
    on_behalf_of: OnBehalfOf = None


class ToAttest(Reason):
    """What is to be attested: a yes or a no, and why."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"approve": True, "comment": "Fine."}]})

    approve: bool


class Edit(Reason):
    """The arguments as they shall be: all of them, not only what changes."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"arguments": {"code": "print(2)"}, "comment": "Once is enough."}]},
    )

    arguments: dict[str, Any]


class OneDecision(ToAttest):
    """One of several."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"approval": "0198c5f0a1b2", "approve": True}]}
    )

    approval: Id


class DecisionBatch(BaseModel):
    """Several decisions, each on its own."""

    model_config = ConfigDict(extra="forbid")

    decisions: list[OneDecision] = Field(min_length=1, max_length=100)


class OneResult(BaseModel):
    """What became of one of several: the approval as it stands, or why the decision was not taken."""

    approval: str
    done: bool
    state: ApprovalState | None = None
    problem: Problem | None = None


class Results(BaseModel):
    """What became of each, in the order they were sent."""

    results: list[OneResult]


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


@router.post("/decide", responses={200: TOLD, **responses()})
async def decide(body: DecisionBatch, caller: ApprovalReader, soma: Soma, response: Response) -> Results:
    """Decide up to a hundred, each on its own: one that is refused says why and stops no other."""
    async with soma.store.transaction(caller.tenant) as tx:
        asked = await tx.approvals.named(*(item.approval for item in body.decisions))
        await tell_asked(tx, response, *asked.values())
    few = asyncio.Semaphore(AT_ONCE)

    async def one(item: OneDecision) -> OneResult:
        async with few:
            return await _one(soma, caller, asked, item)

    return Results(results=list(await asyncio.gather(*(one(item) for item in body.decisions))))


@router.get("/{approval}", responses=responses(404))
async def show_approval(approval: ApprovalId, caller: ApprovalReader, soma: Soma) -> ShownApproval:
    """Show what is asked, of whom, until when, who could decide it now, and how it was decided."""
    async with soma.store.transaction(caller.tenant) as tx:
        asked = await tx.approvals.get(approval)
        deciders = await tx.eligible_approvers.of(asked, dt.datetime.now(dt.UTC))
    return ShownApproval(**dict(asked), deciders=deciders)


@router.get("/{approval}/arguments", responses=responses(404, 409))
async def show_arguments(approval: ApprovalId, caller: ApprovalReader, soma: Soma) -> WaitingCall:
    """Show the arguments of the waiting tool call, as the run holds them."""
    async with soma.store.transaction(caller.tenant) as tx:
        asked = await tx.approvals.get(approval)
    if asked.state != "pending":
        raise Conflict(f"Approval {approval!r} is {asked.state}; nothing waits for it.", state=asked.state)
    found = (await query(soma.temporal, asked.run, "waiting", answer=WaitingCalls)).calls.get(approval)
    if found is None:
        raise Conflict(f"{asked.kind} on {asked.target} is no waiting tool call, so it has no arguments to show.")
    return found


@router.post("/{approval}/approve", responses={200: TOLD, **responses(404, 409)})
async def approve(
    approval: ApprovalId, caller: ApprovalReader, soma: Soma, response: Response, body: Reason | None = None
) -> Approval:
    """Say yes to exactly this action, once. Whoever asked for the action cannot."""
    said = body or Reason()
    asked = await _told(soma, caller, approval, response)
    return await deciding.answer(
        soma, caller, asked, approving=True, comment=said.comment, on_behalf_of=said.on_behalf_of
    )


@router.post("/{approval}/deny", responses={200: TOLD, **responses(404, 409)})
async def deny(
    approval: ApprovalId, caller: ApprovalReader, soma: Soma, response: Response, body: Reason | None = None
) -> Approval:
    """Say no. The persona is told and may try another way."""
    said = body or Reason()
    asked = await _told(soma, caller, approval, response)
    return await deciding.answer(
        soma, caller, asked, approving=False, comment=said.comment, on_behalf_of=said.on_behalf_of
    )


@router.post("/{approval}/edit", responses={200: TOLD, **responses(404, 409)})
async def edit(approval: ApprovalId, caller: ApprovalReader, soma: Soma, response: Response, body: Edit) -> Approval:
    """Change the arguments of a waiting tool call. The gate judges the edited action anew, under its own digest.

    Where it asks again, your yes is one of those that the new approval needs.
    """
    asked = await _told(soma, caller, approval, response)
    return await deciding.edit(
        soma, caller, asked, arguments=body.arguments, comment=body.comment, on_behalf_of=body.on_behalf_of
    )


@router.post("/{approval}/attestation", status_code=201, responses={201: TOLD, **responses(404, 409)})
async def attest(
    approval: ApprovalId, caller: ApprovalReader, soma: Soma, response: Response, body: ToAttest
) -> ApprovalDecision:
    """Return the payload of the Update or Signal `approve` or `deny`, for who decides by another way than this API.

    It holds for five minutes, for this approval and this action, and names the caller as who decided.
    """
    said: Said = "yes" if body.approve else "no"
    asked = await _told(soma, caller, approval, response)
    approver = await deciding.resolve_approver(soma, caller, asked, said, body.on_behalf_of)
    return deciding.attested(soma, caller, asked, approver, approving=body.approve, comment=body.comment)


async def _told(soma: State, caller: Principal, approval: str, response: Response) -> Approval:
    """Return the approval, with the verdict that it was asked for under in the answer's headers. Raises NotFound."""
    async with soma.store.transaction(caller.tenant) as tx:
        asked = await tx.approvals.get(approval)
        await tell_asked(tx, response, asked)
    return asked


async def _one(soma: State, caller: Principal, asked: dict[str, Approval], item: OneDecision) -> OneResult:
    try:
        stands = await deciding.answer(
            soma,
            caller,
            _of(asked, item.approval),
            approving=item.approve,
            comment=item.comment,
            on_behalf_of=item.on_behalf_of,
        )
    except SomaError as error:
        problem = document(error.status, error.code, error.message, fields=error.fields)
    except Exception:
        # The others are decided, or will be: their results must not be lost with this one's.
        problem_id = uuid.uuid4().hex
        log.exception("unexpected failure %s in a batch of decisions", problem_id)
        detail = f"Something failed that we did not foresee. Its id in the log is {problem_id}."
        problem = document(500, "Unexpected", detail, problem_id=problem_id)
    else:
        return OneResult(approval=item.approval, done=True, state=stands.state)
    return OneResult(approval=item.approval, done=False, problem=problem)


def _of(known: dict[str, Approval], approval: str) -> Approval:
    if approval not in known:
        raise NotFound(f"There is no approval {approval!r}.", approval=approval)
    return known[approval]
