"""Who could decide an approval now: principals who hold what is asked for, and those to whom they lent it."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from capsules.approvals.approval import Approval, EligibleApprover
from capsules.approvals.approval_rules import Approver, could_approve
from somagent.db.schema.tables import delegations, principals


@dataclass(frozen=True)
class EligibleApprovers:
    connection: AsyncConnection

    async def of(self, asked: Approval, now: datetime) -> tuple[EligibleApprover, ...]:
        """Return everybody known by name who could say yes or no now; nobody, when it is decided."""
        if asked.state != "pending":
            return ()
        rows = (await self.connection.execute(select(principals).order_by(principals.c.subject))).all()
        held = {row.subject: frozenset(row.capabilities) for row in rows}
        is_open = delegations.c.revoked_at.is_(None) & (delegations.c.starts_at <= now) & (delegations.c.ends_at > now)
        lent: dict[tuple[str, str], set[str]] = {}
        for row in (await self.connection.execute(select(delegations).where(is_open))).all():
            if row.capability in held.get(row.delegator, frozenset()):
                lent.setdefault((row.delegate, row.delegator), set()).add(row.capability)
        approvers = [Approver(subject, capabilities) for subject, capabilities in held.items()]
        approvers += [Approver(to, frozenset(what), owner) for (to, owner), what in sorted(lent.items())]
        return tuple(
            EligibleApprover(
                subject=approver.subject,
                on_behalf_of=approver.on_behalf_of,
                escalated=not asked.asks_for(approver.capabilities),
            )
            for approver in approvers
            if could_approve(asked, approver, now)
        )
