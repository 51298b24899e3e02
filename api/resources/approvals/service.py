"""Work of the approval routes: find the right by which the caller decides, and send the decision to the run.

The run takes a decision by Update, so that API, command line and Signals use one path. `resolve_approver` checks the
loaded approval and refuses early; the database checks the attestation and the locked row again. The run of a governed
application has no such Update: its decision is written to the database at once, with the same checks.
"""

import asyncio
import datetime as dt
import logging
import math
import uuid
from collections.abc import Sequence
from typing import Any

from fastapi import Response
from pydantic import BaseModel

from api import access
from api.deps import State
from api.middleware.policy_headers import set_approval_headers
from api.middleware.problems import UNEXPECTED, document
from api.resources.approvals import schemas
from api.temporal import query, update
from capsules.actions.ledger_messages import tenant_of
from capsules.approvals.approval import AnswerKind, Approval, ApprovalDecision, DecisionResult
from capsules.approvals.approval_edit import ApprovalEdit, EditResult, WaitingCall, WaitingCalls
from capsules.approvals.eligibility import Approver, can_approve, check_eligibility
from capsules.digest import digest
from capsules.errors import Conflict, Denied, Invalid, NotFound, SomaError
from capsules.identity.principal import Principal
from somagent.identity.tokens import AttestationPurpose

log = logging.getLogger(__name__)

ATTEMPTS, PAUSE_SECONDS = 10, 0.2
"""An approval is in the database a moment before its run waits for it. A decision that is too early is sent again."""
PARALLEL_DECISIONS = 20
"""Decisions of one batch that are sent at the same time."""


async def load(state: State, caller: Principal, approval_id: str, response: Response) -> Approval:
    """Return the approval, and set the response's policy headers from its verdict. Raises NotFound."""
    async with state.db.transaction(caller.tenant) as tx:
        approval = await tx.approvals.get(approval_id)
        await set_approval_headers(tx, response, approval)
    return approval


async def show(state: State, caller: Principal, approval_id: str) -> schemas.ApprovalResponse:
    """Return the approval with the principals who could decide it now. Raises NotFound."""
    async with state.db.transaction(caller.tenant) as tx:
        approval = await tx.approvals.get(approval_id)
        deciders = await tx.eligible_approvers.of(approval, dt.datetime.now(dt.UTC))
    return schemas.ApprovalResponse(**dict(approval), deciders=deciders)


async def waiting_call(state: State, caller: Principal, approval_id: str) -> WaitingCall:
    """Return the tool call that waits for an approval. Raises NotFound, or Conflict when no tool call waits for it."""
    async with state.db.transaction(caller.tenant) as tx:
        approval = await tx.approvals.get(approval_id)
    if approval.state != "pending":
        raise Conflict(f"Approval {approval_id!r} is {approval.state}: no call waits for it.", state=approval.state)
    call = (await query(state.temporal, approval.run, "waiting", answer=WaitingCalls)).calls.get(approval_id)
    if call is None:
        raise Conflict(
            f"Approval {approval_id!r} is for {approval.kind} on {approval.target}, which is not a waiting tool call. "
            "It has no arguments to show."
        )
    return call


async def decide(
    state: State, caller: Principal, approval: Approval, request: schemas.DecisionRequest, *, approve: bool
) -> Approval:
    """Send the caller's decision to the run and return the approval after it.

    Raises Denied or Conflict when the caller may not decide it, and Unavailable when no worker answers.
    """
    decision = await attest_decision(state, caller, approval, request, approve=approve)
    verb = "approve" if approve else "deny"
    # One answer of one person to the approval in this state is one Update: a retry returns the first result.
    key = f"{approval.id}/{caller.subject}/{verb}/{len(approval.answers)}"
    try:
        problem = (await _send_decision(state, approval, verb, decision, key=key)).problem
    except (Conflict, NotFound) as error:
        problem = error.message
    async with state.db.transaction(caller.tenant) as tx:
        current = await tx.approvals.get(approval.id)
    # When two people give the last answer at once, both succeed: the result is what both wanted.
    if problem and current.state not in ({"approved", "used"} if approve else {"denied"}):
        raise Conflict(problem, approval=approval.id, state=current.state)
    return current


async def edit(state: State, caller: Principal, approval: Approval, request: schemas.ArgumentEditRequest) -> Approval:
    """Make the run ask for the same tool action with other arguments; the gate evaluates it again.

    Raises Denied or Conflict when the caller may not edit it, Invalid when the arguments do not follow the schema, and
    Unavailable when no worker answers.
    """
    approver = await resolve_approver(state, caller, approval, "edit", request.on_behalf_of)
    if approval.kind != "tool.invoke":
        raise Conflict(f"{approval.kind} on {approval.target} is no tool call, so it has no arguments to edit.")
    arguments = digest(request.arguments)
    change = ApprovalEdit(
        approval=approval.id,
        action=approval.action,
        arguments=request.arguments,
        comment=request.comment,
        token=_attest(state, caller, approval, approver, "edit", arguments=arguments),
    )
    key = f"{approval.id}/{caller.subject}/edit/{len(approval.answers)}/{arguments}"
    result = await _send(state, approval, "edit", change, key=key, answer=EditResult)
    if result.problems:
        problems = [{"path": f"body.{p.path}", "message": p.message} for p in result.problems]
        message = result.problem or "The arguments do not follow the schema."
        raise Invalid(message, problems=problems, approval=approval.id)
    if result.problem:
        raise Conflict(result.problem, approval=approval.id)
    async with state.db.transaction(caller.tenant) as tx:
        return await tx.approvals.get(approval.id)


async def decide_all(
    state: State, caller: Principal, decisions: Sequence[schemas.BatchDecision], response: Response
) -> schemas.DecisionBatchResponse:
    """Decide each approval by itself. A refused decision has its problem in its result and stops no other one."""
    async with state.db.transaction(caller.tenant) as tx:
        known = await tx.approvals.get_many(*(item.approval for item in decisions))
        await set_approval_headers(tx, response, *known.values())
    slots = asyncio.Semaphore(PARALLEL_DECISIONS)

    async def decide_item(item: schemas.BatchDecision) -> schemas.BatchResult:
        async with slots:
            return await _decide_item(state, caller, known.get(item.approval), item)

    return schemas.DecisionBatchResponse(results=await asyncio.gather(*map(decide_item, decisions)))


async def _decide_item(
    state: State, caller: Principal, approval: Approval | None, item: schemas.BatchDecision
) -> schemas.BatchResult:
    if approval is None:
        unknown = {"approval": item.approval}
        problem = document(404, "NotFound", f"There is no approval {item.approval!r}.", fields=unknown)
        return schemas.BatchResult(approval=item.approval, done=False, problem=problem)
    try:
        current = await decide(state, caller, approval, item, approve=item.approve)
    except SomaError as error:
        problem = document(error.status, error.code, error.message, fields=error.fields)
    except Exception:
        # The results of the other decisions must not be lost with this one.
        problem_id = uuid.uuid4().hex
        log.exception("approval_batch.failed problem_id=%s", problem_id)
        problem = document(500, "Unexpected", UNEXPECTED.format(problem_id), problem_id=problem_id)
    else:
        return schemas.BatchResult(approval=item.approval, done=True, state=current.state)
    return schemas.BatchResult(approval=item.approval, done=False, problem=problem)


async def resolve_approver(
    state: State, caller: Principal, approval: Approval, said: AnswerKind, on_behalf_of: str | None
) -> Approver:
    """Return the right by which the caller may answer: their own, else one by delegation.

    Raises Conflict or Denied with the reason when there is none.
    """
    now = dt.datetime.now(dt.UTC)
    own = Approver(caller.subject, caller.capabilities)
    if on_behalf_of is None and approval.may_decide(caller.capabilities, now):
        rights = [own]
    else:
        async with state.db.transaction(caller.tenant) as tx:
            lent = await tx.delegations.lent_capabilities(caller.subject, now, owner=on_behalf_of)
        rights = [Approver(caller.subject, capabilities, owner) for owner, capabilities in lent.items()]
    if on_behalf_of is not None and not rights:
        raise Denied(f"{on_behalf_of!r} has lent {caller.subject!r} nothing that they hold now.", approval=approval.id)
    for right in rights:
        if can_approve(approval, right, now):
            return right
    # A right that cannot approve may still deny; `check_eligibility` raises when it cannot.
    refused = rights[0] if rights else own
    check_eligibility(approval, refused, said, now)
    return refused


async def attest_decision(
    state: State, caller: Principal, approval: Approval, request: schemas.DecisionRequest, *, approve: bool
) -> ApprovalDecision:
    """Return the decision with the caller's attestation. Raises Conflict or Denied as `resolve_approver` does."""
    approver = await resolve_approver(state, caller, approval, "yes" if approve else "no", request.on_behalf_of)
    token = _attest(state, caller, approval, approver, "approve" if approve else "deny")
    return ApprovalDecision(approval=approval.id, action=approval.action, comment=request.comment, token=token)


def _attest(
    state: State,
    caller: Principal,
    approval: Approval,
    approver: Approver,
    purpose: AttestationPurpose,
    **claims: Any,  # noqa: ANN401
) -> str:
    claims |= {
        "approval": approval.id,
        "action": approval.action,
        "target": approval.target,
        "on_behalf_of": approver.on_behalf_of,
        "capabilities": approver.capabilities,
        "escalated": approval.escalated_to(approver.capabilities, dt.datetime.now(dt.UTC)),
        "until": math.ceil(approval.expires_at.timestamp()),
    }
    return access.attest(state, caller, purpose, approval.run, **claims)


async def _send_decision(
    state: State, approval: Approval, verb: str, decision: ApprovalDecision, *, key: str
) -> DecisionResult:
    """Send the decision to the run, or write it here when it is the run of a governed application."""
    tenant = tenant_of(approval.run)
    async with state.db.transaction(tenant) as tx:
        application = await tx.applications.find(approval.run)
    if application is None:
        return await _send(state, approval, verb, decision, key=key, answer=DecisionResult)
    return await state.approval_decisions.decide(approval.run, tenant, decision, approve=verb == "approve")


async def _send[M: BaseModel](  # noqa: PLR0913 - as `api.temporal.update`
    state: State, approval: Approval, verb: str, argument: BaseModel, *, key: str, answer: type[M]
) -> M:
    """Send an Update; send it again while the run does not wait for the approval yet."""
    for _ in range(ATTEMPTS):
        try:
            return await update(state.temporal, approval.run, verb, argument, key=key, answer=answer)
        except NotFound:
            async with state.db.transaction(tenant_of(approval.run)) as tx:
                if (await tx.approvals.get(approval.id)).state != "pending":
                    raise
                if (await tx.runs.get(approval.run)).closed_at is not None:
                    raise
            await asyncio.sleep(PAUSE_SECONDS)
    return await update(state.temporal, approval.run, verb, argument, key=key, answer=answer)
