"""Standing grants: give, list, revoke and rebind them. The gate uses them by `sql/standing_grants.sql`."""

from datetime import datetime
from functools import partial
from typing import Any

from sqlalchemy import case, func, select, text, update
from sqlalchemy.dialects.postgresql import insert

from capsules.approvals.standing_grant import MAX_OPEN, GrantState, StandingGrant
from capsules.base_model import Page
from capsules.digest import Digest
from capsules.errors import Conflict, NotFound
from somagent.db.pages import read_page
from somagent.db.repositories.audit import Audit
from somagent.db.repositories.outbox import Publisher
from somagent.db.schema.tables import from_row
from somagent.db.schema.tables import standing_grants as grants
from somagent.identity.proofs import GrantRow

_STATE = case(
    (grants.c.revoked_at.is_not(None), "revoked"),
    (grants.c.uses_left == 0, "used up"),
    (grants.c.expires_at <= func.now(), "expired"),
    else_="open",
).label("state")


class StandingGrants(Publisher):
    """The standing grants of one tenant."""

    async def give(self, row: GrantRow, *, token: str, now: datetime) -> StandingGrant:
        """Write a grant whose scope was proved under its constitution. Raises Conflict when too many are open.

        token: the granter's attestation of the terms.
        """
        await self._require_room(row.constitution)
        await self.connection.execute(
            insert(grants).values(
                tenant_id=self.tenant,
                granted_at=now,
                uses_left=row.uses,
                attestation=func.attestation_use(token),
                **row.model_dump(),
            )
        )
        grant = await self.get(row.id)
        await self._publish("approval.events", "grant.given", None, _event_data(grant, row.granted_by))
        return grant

    async def get(self, grant: str) -> StandingGrant:
        """Return a standing grant. Raises NotFound."""
        row = await self._first(select(grants, _STATE).where(grants.c.id == grant))
        if row is None:
            raise NotFound(f"There is no standing grant {grant!r}.", grant=grant)
        return from_row(StandingGrant, row)

    async def list(
        self, state: GrantState | None = None, cursor: str | None = None, limit: int = 50
    ) -> Page[StandingGrant]:
        """Return a page, newest first."""
        query = select(grants, _STATE)
        if state:
            query = query.where(_STATE.element == state)
        keys = (grants.c.granted_at, grants.c.id)
        return await read_page(
            self.connection, query, keys, partial(from_row, StandingGrant), cursor=cursor, limit=limit
        )

    async def revoke(self, grant: str, *, by: str, token: str, now: datetime) -> StandingGrant:
        """Revoke a grant. Effects that began under it continue, their retries do not. Idempotent. Raises NotFound.

        token: the attestation of who revokes.
        """
        known = await self.get(grant)
        taken = await self.connection.execute(
            update(grants)
            .where((grants.c.id == grant) & grants.c.revoked_at.is_(None))
            .values(revoked_at=now, revoked_by=by, revocation=func.attestation_use(token))
        )
        if not taken.rowcount:
            return known
        await self._publish("approval.events", "grant.revoked", None, _event_data(known, by))
        return await self.get(grant)

    async def rebind(self, grant: str, *, constitution: Digest, by: str, token: str) -> StandingGrant:
        """Bind a grant to the constitution under which its scope was proved again. Raises Conflict unless open.

        token: the granter's attestation of the terms under that constitution.
        """
        known = await self.get(grant)
        if known.state != "open":
            raise Conflict(f"The standing grant {grant!r} is {known.state}; give a new one.", grant=grant)
        proof = {"constitution": constitution, "attestation": func.attestation_use(token)}
        if known.constitution != constitution:
            await self._require_room(constitution)
        await Audit(self.connection, self.tenant).set_actor(by)
        await self.connection.execute(update(grants).where(grants.c.id == grant).values(**proof))
        if known.constitution != constitution:
            bound = known.model_copy(update={"constitution": constitution})
            await self._publish("approval.events", "grant.proved", None, _event_data(bound, by))
        return await self.get(grant)

    async def _require_room(self, constitution: Digest) -> None:
        """Raise Conflict when as many grants as allowed are open."""
        # Two grants that are given at once must not both count as the last one.
        await self.connection.execute(
            text("SELECT pg_advisory_xact_lock(hashtextextended('standing_grants/' || :tenant, 0))"),
            {"tenant": self.tenant},
        )
        is_open = (grants.c.constitution == constitution) & (_STATE.element == "open")
        number = await self.connection.scalar(select(func.count()).select_from(grants).where(is_open))
        if (number or 0) >= MAX_OPEN:
            raise Conflict(f"{number} standing grants are open, and {MAX_OPEN} may be. Take one back first.")


def _event_data(grant: StandingGrant, by: str) -> dict[str, Any]:
    """Return the data of an event about a grant."""
    fields = {"scope", "capability", "reason", "uses_left", "expires_at", "constitution"}
    return {"grant": grant.id, "by": by, **grant.model_dump(mode="json", include=fields)}
