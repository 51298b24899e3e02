"""Decisions of approvals: by which right the caller decides, the Update to the run, and the result.

The run takes the decision by Update, so that API, command line and Signals go one way. `resolve_approver` refuses early
from the loaded approval; the database checks everything again from the attestation and the locked row. The run of a
governed application has no such Update: its decision is written at once, with the same checks.
"""

import asyncio
import datetime as dt
import logging
import uuid
from collections.abc import Sequence
from typing import Any

from fastapi import Response
from pydantic import BaseModel

from api import access
from api.deps import State
from api.middleware.policy_headers import set_approval_headers
from api.middleware.problems import UNEXPECTED, document
from api.resources.approvals.schemas import Edit, OneDecision, OneResult, Reason, Results
from api.temporal import query, update
from capsules.approvals.approval import AnswerKind, Approval, ApprovalDecision, DecisionMade, ShownApproval
from capsules.approvals.approval_edit import ApprovalEdit, EditMade, WaitingCall, WaitingCalls
from capsules.approvals.eligibility import Approver, can_approve, check_eligibility
from capsules.digest import digest
from capsules.errors import Conflict, Denied, Invalid, NotFound, SomaError
from capsules.identity.principal import Principal
from somagent.db.gate.decisions import PostgresDecisions
from somagent.identity.tokens import AttestationPurpose

log = logging.getLogger(__name__)

ATTEMPTS, PAUSE_SECONDS = 10, 0.2
"""An approval is in the database a moment before its run waits for it: an early decision is sent again."""
AT_ONCE = 20
"""Decisions of one batch that are sent at the same time."""


async def load(soma: State, caller: Principal, approval: str, response: Response) -> Approval:
    """Return the approval, with its verdict in the answer's policy headers. Raises NotFound."""
    async with soma.db.transaction(caller.tenant) as tx:
        asked = await tx.approvals.get(approval)
        await set_approval_headers(tx, response, asked)
    return asked


async def show(soma: State, caller: Principal, approval: str) -> ShownApproval:
    """Return the approval with the principals who could decide it now. Raises NotFound."""
    async with soma.db.transaction(caller.tenant) as tx:
        asked = await tx.approvals.get(approval)
        deciders = await tx.eligible_approvers.of(asked, dt.datetime.now(dt.UTC))
    return ShownApproval(**dict(asked), deciders=deciders)


async def waiting_call(soma: State, caller: Principal, approval: str) -> WaitingCall:
    """Return the tool call that waits for an approval. Raises Conflict when none does."""
    async with soma.db.transaction(caller.tenant) as tx:
        asked = await tx.approvals.get(approval)
    if asked.state != "pending":
        raise Conflict(f"Approval {approval!r} is {asked.state}; nothing waits for it.", state=asked.state)
    found = (await query(soma.temporal, asked.run, "waiting", answer=WaitingCalls)).calls.get(approval)
    if found is None:
        raise Conflict(f"{asked.kind} on {asked.target} is no waiting tool call, so it has no arguments to show.")
    return found


async def answer(soma: State, caller: Principal, asked: Approval, reason: Reason, *, approving: bool) -> Approval:
    """Send the caller's answer to the run and return the approval after it.

    Raises Denied or Conflict when the caller may not decide it, and Unavailable when no worker answers.
    """
    decision = await attested(soma, caller, asked, reason, approving=approving)
    verb = "approve" if approving else "deny"
    # One answer of one person to the approval in this state is one Update: a retry returns the first result.
    key = f"{asked.id}/{caller.subject}/{verb}/{len(asked.answers)}"
    try:
        problem = (await _send_decision(soma, asked, verb, decision, key=key)).problem
    except (Conflict, NotFound) as error:
        problem = error.message
    async with soma.db.transaction(caller.tenant) as tx:
        stands = await tx.approvals.get(asked.id)
    # When two people give the last answer at once, both succeed: the result is what both wanted.
    if problem and stands.state not in ({"approved", "used"} if approving else {"denied"}):
        raise Conflict(problem, approval=asked.id, state=stands.state)
    return stands


async def edit(soma: State, caller: Principal, asked: Approval, wanted: Edit) -> Approval:
    """Make the run ask for the same tool action with other arguments; the gate evaluates that again.

    Raises Denied or Conflict when the caller may not edit it, Invalid when the arguments do not follow the schema, and
    Unavailable when no worker answers.
    """
    approver = await resolve_approver(soma, caller, asked, "edit", wanted.on_behalf_of)
    if asked.kind != "tool.invoke":
        raise Conflict(f"{asked.kind} on {asked.target} is no tool call, so it has no arguments to edit.")
    arguments = digest(wanted.arguments)
    request = ApprovalEdit(
        approval=asked.id,
        action=asked.action,
        arguments=wanted.arguments,
        comment=wanted.comment,
        token=_attest(soma, caller, asked, approver, "edit", arguments=arguments),
    )
    key = f"{asked.id}/{caller.subject}/edit/{len(asked.answers)}/{arguments}"
    made = await _send(soma, asked, "edit", request, key=key, reply=EditMade)
    if made.problems:
        listed = [{"path": f"body.{p.path}", "message": p.message} for p in made.problems]
        raise Invalid(made.problem or "The arguments do not follow the schema.", problems=listed, approval=asked.id)
    if made.problem:
        raise Conflict(made.problem, approval=asked.id)
    async with soma.db.transaction(caller.tenant) as tx:
        return await tx.approvals.get(asked.id)


async def decide_all(soma: State, caller: Principal, decisions: Sequence[OneDecision], response: Response) -> Results:
    """Answer each approval by itself; a refusal is in its result and stops no other decision."""
    async with soma.db.transaction(caller.tenant) as tx:
        known = await tx.approvals.get_many(*(item.approval for item in decisions))
        await set_approval_headers(tx, response, *known.values())
    few = asyncio.Semaphore(AT_ONCE)

    async def decide(item: OneDecision) -> OneResult:
        async with few:
            return await _decide_one(soma, caller, known.get(item.approval), item)

    return Results(results=list(await asyncio.gather(*(decide(item) for item in decisions))))


async def _decide_one(soma: State, caller: Principal, asked: Approval | None, item: OneDecision) -> OneResult:
    try:
        stands = await answer(soma, caller, _require(asked, item.approval), item, approving=item.approve)
    except SomaError as error:
        problem = document(error.status, error.code, error.message, fields=error.fields)
    except Exception:
        # The results of the other decisions must not be lost with this one.
        problem_id = uuid.uuid4().hex
        log.exception("unexpected failure %s in a batch of decisions", problem_id)
        problem = document(500, "Unexpected", UNEXPECTED.format(problem_id), problem_id=problem_id)
    else:
        return OneResult(approval=item.approval, done=True, state=stands.state)
    return OneResult(approval=item.approval, done=False, problem=problem)


def _require(asked: Approval | None, approval: str) -> Approval:
    if asked is None:
        raise NotFound(f"There is no approval {approval!r}.", approval=approval)
    return asked


async def resolve_approver(
    soma: State, caller: Principal, asked: Approval, said: AnswerKind, on_behalf_of: str | None
) -> Approver:
    """Return the right by which the caller may answer: their own, else one by delegation.

    Raises Conflict or Denied with the reason when there is none.
    """
    now = dt.datetime.now(dt.UTC)
    own = Approver(caller.subject, caller.capabilities)
    if on_behalf_of is None and asked.may_decide(caller.capabilities, now):
        rights = [own]
    else:
        async with soma.db.transaction(caller.tenant) as tx:
            lent = await tx.delegations.lent_capabilities(caller.subject, now, owner=on_behalf_of)
        rights = [Approver(caller.subject, capabilities, owner) for owner, capabilities in lent.items()]
    if on_behalf_of is not None and not rights:
        raise Denied(f"{on_behalf_of!r} has lent {caller.subject!r} nothing that they hold now.", approval=asked.id)
    for right in rights:
        if can_approve(asked, right, now):
            return right
    # A right that cannot approve may still deny; `check_eligibility` raises when it cannot.
    refused = rights[0] if rights else own
    check_eligibility(asked, refused, said, now)
    return refused


async def attested(
    soma: State, caller: Principal, asked: Approval, reason: Reason, *, approving: bool
) -> ApprovalDecision:
    """Return the decision with the attestation of the caller. Raises Conflict or Denied as `resolve_approver` does."""
    said: AnswerKind = "yes" if approving else "no"
    approver = await resolve_approver(soma, caller, asked, said, reason.on_behalf_of)
    token = _attest(soma, caller, asked, approver, "approve" if approving else "deny")
    return ApprovalDecision(approval=asked.id, action=asked.action, comment=reason.comment, token=token)


def _attest(
    soma: State,
    caller: Principal,
    asked: Approval,
    approver: Approver,
    purpose: AttestationPurpose,
    **claims: Any,  # noqa: ANN401
) -> str:
    return access.attest(
        soma,
        caller,
        purpose,
        asked.run,
        approval=asked.id,
        action=asked.action,
        on_behalf_of=approver.on_behalf_of,
        **claims,
    )


async def _send_decision(
    soma: State, asked: Approval, verb: str, decision: ApprovalDecision, *, key: str
) -> DecisionMade:
    """Send the decision to the run, or write it here when it is the run of a governed application."""
    tenant = asked.run.partition("/")[0]
    async with soma.db.transaction(tenant) as tx:
        application = await tx.applications.find(asked.run)
    if application is None:
        return await _send(soma, asked, verb, decision, key=key, reply=DecisionMade)
    decisions = PostgresDecisions(soma.db, soma.tokens)
    return await decisions.decide(asked.run, tenant, decision, approve=verb == "approve")


async def _send[M: BaseModel](  # noqa: PLR0913 - as `api.temporal.update`
    soma: State, asked: Approval, verb: str, argument: BaseModel, *, key: str, reply: type[M]
) -> M:
    """Send an Update; send it again while the run does not wait for the approval yet."""
    for _ in range(ATTEMPTS):
        try:
            return await update(soma.temporal, asked.run, verb, argument, key=key, answer=reply)
        except NotFound:
            async with soma.db.transaction(asked.run.partition("/")[0]) as tx:
                if (await tx.approvals.get(asked.id)).state != "pending":
                    raise
                if (await tx.runs.get(asked.run)).closed_at is not None:
                    raise
            await asyncio.sleep(PAUSE_SECONDS)
    return await update(soma.temporal, asked.run, verb, argument, key=key, answer=reply)
