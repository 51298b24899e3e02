"""Deciding an approval for a caller: by what right, said to the run, and how it stands afterwards.

The run takes the decision, by Update, so that API, command line and signals go one way. `by_right` refuses early, in
words, on the approval as it was loaded; the store checks all of it again, from the attestation and on the locked row.
Only a run of an application that is not ours cannot take a decision: it is written at once, with the same checks.
"""

import asyncio
import datetime as dt
from typing import Any

from pydantic import BaseModel

from api.deps import State
from api.temporal import update
from capsules.approvals.approval import Approval, ApprovalDecision, DecisionMade, Said
from capsules.approvals.approval_edit import ApprovalEdit, EditMade
from capsules.approvals.approval_rules import Approver, admit, could_approve
from capsules.digest import digest
from capsules.errors import Conflict, Denied, Invalid, NotFound
from capsules.read_models import Principal
from somagent.db.gate.decisions import PostgresDecisions
from somagent.identity.tokens import Attestation

LOOKS, PAUSE_SECONDS = 10, 0.2
"""An approval is in the store a moment before its run waits for it: who is that quick is not turned away."""


async def answer(  # noqa: PLR0913 - who, what, why, by whose right
    soma: State, caller: Principal, asked: Approval, *, approving: bool, comment: str, on_behalf_of: str | None = None
) -> Approval:
    """Say the caller's yes or no to the run and return the approval as it stands then.

    Raises Denied or Conflict where the caller may not decide it, and Unavailable where no worker answers.
    """
    approver = await resolve_approver(soma, caller, asked, "yes" if approving else "no", on_behalf_of)
    verb = "approve" if approving else "deny"
    decision = attested(soma, caller, asked, approver, approving=approving, comment=comment)
    # What one person says to the approval as it stands is one Update: a retry gets the first answer again.
    key = f"{asked.id}/{caller.subject}/{verb}/{len(asked.answers)}"
    try:
        made = await _decided(soma, asked, verb, decision, key=key)
        problem = made.problem
    except (Conflict, NotFound) as error:
        problem = error.message
    async with soma.store.transaction(caller.tenant) as tx:
        stands = await tx.approvals.get(asked.id)
    # Of two who say the last yes at once both get what they wanted, and one name more is not needed.
    if problem and stands.state not in ({"approved", "used"} if approving else {"denied"}):
        raise Conflict(problem, approval=asked.id, state=stands.state)
    return stands


async def edit(  # noqa: PLR0913 - who, what, into what, why
    soma: State,
    caller: Principal,
    asked: Approval,
    *,
    arguments: dict[str, Any],
    comment: str,
    on_behalf_of: str | None = None,
) -> Approval:
    """Have the run ask for the same tool action with other arguments; the gate judges that anew.

    Raises Denied or Conflict where the caller may not edit it, Invalid where the arguments do not follow the schema,
    and Unavailable where no worker answers.
    """
    approver = await resolve_approver(soma, caller, asked, "edit", on_behalf_of)
    if asked.kind != "tool.invoke":
        raise Conflict(f"{asked.kind} on {asked.target} is no tool call, so it has no arguments to edit.")
    claims = _attestation(caller, asked, approver, purpose="edit", arguments=digest(arguments))
    wanted = ApprovalEdit(
        approval=asked.id,
        action=asked.action,
        arguments=arguments,
        comment=comment,
        token=soma.tokens.mint_attestation(claims),
    )
    key = f"{asked.id}/{caller.subject}/edit/{len(asked.answers)}/{digest(arguments)}"
    made = await _told(soma, asked, "edit", wanted, key=key, reply=EditMade)
    if made.problems:
        listed = [{"path": f"body.{p.path}", "message": p.message} for p in made.problems]
        raise Invalid(made.problem or "The arguments do not follow the schema.", problems=listed, approval=asked.id)
    if made.problem:
        raise Conflict(made.problem, approval=asked.id)
    async with soma.store.transaction(caller.tenant) as tx:
        return await tx.approvals.get(asked.id)


async def resolve_approver(
    soma: State, caller: Principal, asked: Approval, said: Said, on_behalf_of: str | None
) -> Approver:
    """Return by what right the caller may answer the approval: their own, else one that was lent to them.

    Raises Conflict or Denied with the reason why they may not.
    """
    now = dt.datetime.now(dt.UTC)
    own = Approver(caller.subject, caller.capabilities)
    if on_behalf_of is None and asked.may_decide(caller.capabilities, now):
        rights = [own]
    else:
        async with soma.store.transaction(caller.tenant) as tx:
            lent = await tx.delegations.lent(caller.subject, now, owner=on_behalf_of)
        rights = [Approver(caller.subject, capabilities, owner) for owner, capabilities in lent.items()]
    if on_behalf_of is not None and not rights:
        raise Denied(f"{on_behalf_of!r} has lent {caller.subject!r} nothing that they hold now.", approval=asked.id)
    for right in rights:
        if could_approve(asked, right, now):
            return right
    # A right that is not good for a yes may be good for a no.
    refused = rights[0] if rights else own
    admit(asked, refused, said, now)
    return refused


def attested(  # noqa: PLR0913 - what is said, by whom, by what right
    soma: State, caller: Principal, asked: Approval, approver: Approver, *, approving: bool, comment: str
) -> ApprovalDecision:
    """Return what the run is told, with the proof of who says it."""
    claims = _attestation(caller, asked, approver, purpose="approve" if approving else "deny")
    return ApprovalDecision(
        approval=asked.id, action=asked.action, comment=comment, token=soma.tokens.mint_attestation(claims)
    )


def _attestation(caller: Principal, asked: Approval, approver: Approver, **more: Any) -> Attestation:  # noqa: ANN401
    return Attestation(
        tenant=caller.tenant,
        subject=caller.subject,
        capabilities=caller.capabilities,
        run=asked.run,
        approval=asked.id,
        action=asked.action,
        on_behalf_of=approver.on_behalf_of,
        **more,
    )


async def _decided(soma: State, asked: Approval, verb: str, decision: ApprovalDecision, *, key: str) -> DecisionMade:
    """Have the run take the decision; for an application's run, whose workflow knows nothing of us, write it here."""
    tenant = asked.run.partition("/")[0]
    async with soma.store.transaction(tenant) as tx:
        foreign = await tx.applications.find(asked.run)
    if foreign is None:
        return await _told(soma, asked, verb, decision, key=key, reply=DecisionMade)
    decisions = PostgresDecisions(soma.store, soma.tokens)
    return await decisions.decide(asked.run, tenant, decision, approve=verb == "approve")


async def _told[M: BaseModel](  # noqa: PLR0913 - as `api.temporal.update`
    soma: State, asked: Approval, verb: str, argument: BaseModel, *, key: str, reply: type[M]
) -> M:
    for _ in range(LOOKS):
        try:
            return await update(soma.temporal, asked.run, verb, argument, key=key, answer=reply)
        except NotFound:
            async with soma.store.transaction(asked.run.partition("/")[0]) as tx:
                if (await tx.approvals.get(asked.id)).state != "pending":
                    raise
                if (await tx.runs.get(asked.run)).closed_at is not None:
                    raise
            await asyncio.sleep(PAUSE_SECONDS)
    return await update(soma.temporal, asked.run, verb, argument, key=key, answer=reply)
