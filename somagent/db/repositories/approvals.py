"""Approvals: lists, decisions of people, edits, escalation and expiry; and who could decide an approval now.

The gate opens and uses approvals (`sql/approvals.sql`, `sql/gate_begin.sql`). After its time an approval reads as
expired, whatever state its row has.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NewType

from sqlalchemy import Row, case, func, select, text, update

from capsules.approvals.approval import Answer, AnswerKind, Approval, ApprovalState, EligibleApprover, missing_demands
from capsules.approvals.eligibility import Approver, can_approve, check_eligibility
from capsules.base_model import Page
from capsules.digest import Digest
from capsules.errors import Conflict, NotFound
from somagent.db.pages import read_page
from somagent.db.repositories.attestations import Attestations
from somagent.db.repositories.delegations import Delegations, is_open
from somagent.db.repositories.outbox import Publisher
from somagent.db.repositories.repository import Repository
from somagent.db.schema.tables import approvals, delegations, from_row, principals
from somagent.identity.tokens import Tokens

Locked = NewType("Locked", Approval)
"""An approval whose row this transaction has locked. Only `Approvals.lock` makes one."""

_STATE = case(
    (approvals.c.state.in_(["pending", "approved"]) & (approvals.c.expires_at <= func.now()), "expired"),
    else_=approvals.c.state,
).label("current_state")


class Approvals(Publisher):
    """The approvals of one tenant."""

    async def get(self, approval: str) -> Approval:
        """Return an approval. Raises NotFound."""
        row = await self._first(select(approvals, _STATE).where(approvals.c.id == approval))
        if row is None:
            raise NotFound(f"There is no approval {approval!r}.", approval=approval)
        return _approval(row)

    async def get_many(self, *ids: str) -> dict[str, Approval]:
        """Return the approvals with these ids that exist, by id."""
        query = select(approvals, _STATE).where(approvals.c.id.in_(ids))
        return {row.id: _approval(row) for row in await self.connection.execute(query)}

    async def list(
        self,
        state: ApprovalState | None = None,
        run: str | None = None,
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page[Approval]:
        """Return a page, newest first. Raises Invalid for a wrong cursor or limit."""
        query = select(approvals, _STATE)
        if state:
            query = query.where(_STATE.element == state)
        if run:
            query = query.where(approvals.c.run == run)
        keys = (approvals.c.requested_at, approvals.c.id)
        return await read_page(self.connection, query, keys, _approval, cursor=cursor, limit=limit)

    async def lock(self, approval: str, *, run: str | None = None) -> Locked:
        """Lock the run, then the approval. The gate uses the same order, so the two cannot deadlock.

        run: the run that the approval must belong to; None looks it up. Raises NotFound when it does not.
        """
        owner = run or select(approvals.c.run).where(approvals.c.id == approval).scalar_subquery()
        await self.connection.execute(select(func.run_lock(owner)))
        wanted = (approvals.c.id == approval) & (approvals.c.run == owner)
        row = await self._first(select(approvals, _STATE).where(wanted).with_for_update())
        if row is None:
            where = f" in run {run!r}" if run else ""
            raise NotFound(f"There is no approval {approval!r}{where}.", approval=approval)
        return Locked(_approval(row))

    async def decide(  # noqa: PLR0913 - who, what, why, when, and the proof
        self, approval: Locked, approver: Approver, *, approve: bool, token: str, comment: str, now: datetime
    ) -> Approval:
        """Write a person's yes or no and return the changed approval. One no denies; a yes counts towards the demands.

        token: the person's attestation, verified by the caller. Raises Conflict unless it is pending and in time, and
        Denied as `check_eligibility` does.
        """
        check_eligibility(approval, approver, "yes" if approve else "no", now)
        answers = [*approval.answers, _answer(approval, approver, "yes" if approve else "no", comment, now)]
        answers[-1] = answers[-1].model_copy(update={"attestation": await self._use(token)})
        lacking = missing_demands(approval.demands, answers)
        state: ApprovalState = "denied" if not approve else "pending" if lacking else "approved"
        values: dict[str, Any] = {"state": state, "comment": comment}
        decided = await self._write(approval, answers, values | _decision_values(state, approver, now))
        data = {
            "approval": approval.id,
            "state": state,
            "approve": approve,
            "comment": comment,
            "by": approver.subject,
            "on_behalf_of": approver.on_behalf_of,
            "missing": [demand.model_dump() for demand in lacking] if approve else [],
        }
        await self._publish("approval.events", "approval.decided", approval.run, data)
        return decided

    async def edit(  # noqa: PLR0913 - who, into what, why, when
        self,
        approval: Locked,
        approver: Approver,
        *,
        to: Digest,
        receipt: dict[str, str],
        token: str,
        comment: str,
        now: datetime,
    ) -> Approval:
        """Close an approval because a person wants the action `to` instead, which the gate then evaluates.

        receipt: the members of the receipt that is appended to the run's chain, as canonical JSON. token: the person's
        attestation, verified by the caller. Raises as `decide` does, and Conflict when `to` is the same action.
        """
        check_eligibility(approval, approver, "edit", now)
        if to == approval.action:
            raise Conflict(
                f"The edit changes nothing: approval {approval.id!r} asks for this action.", approval=approval.id
            )
        answers = [*approval.answers, _answer(approval, approver, "edit", comment, now)]
        answers[-1] = answers[-1].model_copy(update={"attestation": await self._use(token)})
        values = {"state": "edited", "edited_to": to, "comment": comment}
        edited = await self._write(approval, answers, values | _decision_values("edited", approver, now))
        written = text("SELECT approval_edited(:approval, CAST(:parts AS jsonb))")
        await self.connection.execute(written, {"approval": approval.id, "parts": json.dumps(receipt)})
        data = {"approval": approval.id, "action": to, "by": approver.subject, "on_behalf_of": approver.on_behalf_of}
        data["comment"] = comment
        await self._publish("approval.events", "approval.edited", approval.run, data)
        return edited

    async def escalate(self, approval: str, *, groups: int) -> Approval:
        """Publish that the first `groups` escalation groups may decide now, once for each. Raises NotFound."""
        locked = await self.lock(approval)
        row = await self.connection.execute(select(approvals.c.escalated).where(approvals.c.id == approval))
        published = row.scalar_one()
        if locked.state != "pending" or groups <= published:
            return locked
        for group in locked.escalation[published:groups]:
            data = {
                "approval": approval,
                "capability": group.capability,
                "at": group.at.isoformat(),
                **locked.model_dump(mode="json", include={"kind", "target", "sentence", "expires_at"}),
            }
            await self._publish("approval.events", "approval.escalated", locked.run, data)
        await self.connection.execute(
            update(approvals).where(approvals.c.id == approval).values(escalated=min(groups, len(locked.escalation)))
        )
        return locked

    async def expire(self, approval: str) -> Approval:
        """Close a pending approval as expired and publish that; one that was decided stays. Raises NotFound."""
        locked = await self.lock(approval)
        closed = await self.connection.execute(
            update(approvals)
            .where((approvals.c.id == approval) & (approvals.c.state == "pending"))
            .values(state="expired")
            .returning(approvals, _STATE)
        )
        row = closed.first()
        if row is None:
            return locked
        data = {"approval": approval, "asked": locked.describe_approvers()}
        data |= locked.model_dump(mode="json", include={"kind", "target", "sentence"})
        await self._publish("approval.events", "approval.expired", locked.run, data)
        return _approval(row)

    async def _use(self, token: str) -> Digest:
        return await Attestations(self.connection, self.tenant).use(token)

    async def _write(self, approval: Locked, answers: Sequence[Answer], values: dict[str, Any]) -> Approval:
        written = [answer.model_dump(mode="json") for answer in answers]
        changed = await self.connection.execute(
            update(approvals)
            .where(approvals.c.id == approval.id)
            .values(answers=written, **values)
            .returning(approvals, _STATE)
        )
        return _approval(changed.one())


def _answer(approval: Approval, approver: Approver, said: AnswerKind, comment: str, now: datetime) -> Answer:
    return Answer(
        by=approver.subject,
        said=said,
        on_behalf_of=approver.on_behalf_of,
        capabilities=tuple(sorted(approver.capabilities)),
        escalated=approval.escalated_to(approver.capabilities, now),
        comment=comment,
        at=now,
    )


def _decision_values(state: ApprovalState, approver: Approver, now: datetime) -> dict[str, Any]:
    return {} if state == "pending" else {"decided_by": approver.subject, "decided_at": now}


def _approval(row: Row[Any]) -> Approval:
    approval = from_row(Approval, row, state=row.current_state, capability=row.demands[0]["capability"])
    lacking = missing_demands(approval.demands, approval.answers) if approval.state == "pending" else ()
    return approval.model_copy(update={"missing": lacking})


@dataclass(frozen=True)
class EligibleApprovers(Repository):
    """Principals of the tenant who could decide an approval: by their own capabilities or by lent ones."""

    tokens: Tokens

    async def of(self, approval: Approval, now: datetime) -> tuple[EligibleApprover, ...]:
        """Return every principal who could decide the approval now; none when it is decided."""
        if approval.state != "pending":
            return ()
        active = select(principals).where(principals.c.state == "active").order_by(principals.c.subject)
        rows = await self._all(active)
        held = {row.subject: frozenset(row.capabilities) for row in rows}
        lent: dict[tuple[str, str], set[str]] = {}
        rows = await self._all(select(delegations).where(is_open(now)))
        for row in await Delegations(self.connection, self.tenant, self.tokens).proved(rows):
            if row.capability in held.get(row.delegator, frozenset()):
                lent.setdefault((row.delegate, row.delegator), set()).add(row.capability)
        approvers = [Approver(subject, capabilities) for subject, capabilities in held.items()]
        approvers += [Approver(to, frozenset(what), owner) for (to, owner), what in sorted(lent.items())]
        return tuple(
            EligibleApprover(
                subject=approver.subject,
                on_behalf_of=approver.on_behalf_of,
                escalated=not approval.asks_for(approver.capabilities),
            )
            for approver in approvers
            if can_approve(approval, approver, now)
        )
