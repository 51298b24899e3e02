"""Approvals: asked for by the gate, decided by people, used once by the gate.

One that ran out of time reads as expired from that moment, whether or not anybody has written it down.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, case, func, select, text, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from capsules.approval import Approval, State
from capsules.errors import Conflict, Denied, NotFound
from capsules.records import Page
from somagent.store import paging
from somagent.store.events import Events
from somagent.store.tables import approvals

_STATE = case(
    (approvals.c.state.in_(["pending", "approved"]) & (approvals.c.expires_at <= func.now()), "expired"),
    else_=approvals.c.state,
).label("standing")


@dataclass(frozen=True)
class Approvals:
    connection: AsyncConnection
    tenant: str

    async def get(self, approval: str) -> Approval:
        row = (await self.connection.execute(select(approvals, _STATE).where(approvals.c.id == approval))).first()
        if row is None:
            raise NotFound(f"There is no approval {approval!r}.", approval=approval)
        return _approval(row)

    async def list(
        self,
        state: State | None = None,
        run: str | None = None,
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page[Approval]:
        """Return a page, newest first."""
        query = (
            select(approvals, _STATE)
            .order_by(approvals.c.requested_at.desc(), approvals.c.id.desc())
            .limit(paging.bounded(limit) + 1)
        )
        if cursor:
            at, key = paging.decode(cursor, parts=2)
            query = query.where(tuple_(approvals.c.requested_at, approvals.c.id) < tuple_(paging.moment(at), key))
        if state:
            query = query.where(_STATE.element == state)
        if run:
            query = query.where(approvals.c.run == run)
        rows = (await self.connection.execute(query)).all()
        return paging.page(rows, limit=limit, item=_approval, key=lambda row: (row.requested_at.isoformat(), row.id))

    async def decide(self, approval: str, *, approve: bool, by: str, comment: str, now: datetime) -> Approval:
        """Write a person's yes or no.

        Raises Conflict unless it is pending and in time, Denied to the requester (separation of duties) and to whom
        said yes already, where more than one must.
        """
        row = await self._locked(approval)
        if row.state != "pending":
            who = f" by {row.decided_by!r}" if row.decided_by else ""
            raise Conflict(f"Approval {approval!r} is {row.state}{who} already.", approval=approval, state=row.state)
        if row.expires_at <= now:
            raise Conflict(f"Approval {approval!r} expired at {row.expires_at.isoformat()}.", state="expired")
        if row.requested_by == by:
            raise Denied(f"Separation of duties: {by!r} asked for this action and cannot decide it.", approval=approval)
        if by in row.approved_by:
            raise Denied(f"{by!r} approved already; {row.quorum} different people must.", approval=approval)
        agreed = [*row.approved_by, *([by] if approve else [])]
        decided = not approve or len(agreed) >= row.quorum
        state = ("approved" if approve else "denied") if decided else "pending"
        values: dict[str, Any] = {"state": state, "approved_by": agreed, "comment": comment}
        if decided:
            values |= {"decided_by": by, "decided_at": now}
        await self.connection.execute(update(approvals).where(approvals.c.id == approval).values(**values))
        data = {"approval": approval, "state": state, "by": by, "approve": approve, "comment": comment}
        await Events(self.connection, self.tenant).add("approval.events", "approval.decided", row.run, data)
        return await self.get(approval)

    async def _locked(self, approval: str) -> Row[Any]:
        """Lock the run, then the approval: the order of the gate, so that the two never wait for each other."""
        run = (await self.get(approval)).run
        await self.connection.execute(text("SELECT 1 FROM runs WHERE id = :run FOR NO KEY UPDATE"), {"run": run})
        return (
            await self.connection.execute(select(approvals).where(approvals.c.id == approval).with_for_update())
        ).one()


def _approval(row: Row[Any]) -> Approval:
    values = {name: value for name, value in row._mapping.items() if name in Approval.model_fields}  # noqa: SLF001
    return Approval.model_validate({**values, "state": row.standing})
