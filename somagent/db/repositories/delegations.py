"""Delegations: give, list and revoke them; and the capabilities that a principal may use by delegation now."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import structlog
from sqlalchemy import ColumnElement, Row, case, func, or_, select, text, update
from sqlalchemy.dialects.postgresql import insert

from capsules.approvals.delegation import Delegation, DelegationRequest
from capsules.base_model import Page
from capsules.errors import Denied, Invalid, NotFound, SomaError
from somagent.db.pages import read_page
from somagent.db.repositories.attestations import Attestations
from somagent.db.repositories.outbox import Publisher
from somagent.db.schema.tables import delegations, from_row, principals
from somagent.identity.proofs import DelegationProof, check_delegation
from somagent.identity.tokens import Tokens

log = structlog.get_logger(__name__)

_STATE = case(
    (delegations.c.revoked_at.is_not(None), "revoked"),
    (delegations.c.ends_at <= func.now(), "ended"),
    (delegations.c.starts_at > func.now(), "coming"),
    else_="open",
).label("state")

LOCK_DELEGATORS = text("SELECT delegators_lock(:delegate)")


@dataclass(frozen=True)
class Delegations(Publisher):
    """The delegations of one tenant. tokens: verifies their attestations."""

    tokens: Tokens

    async def prepare(self, request: DelegationRequest, *, by: str, now: datetime) -> DelegationProof:
        """Return the delegation that `by` attests: a capability that they hold as a principal, to another principal.

        Raises Invalid when it goes to oneself or ends in the past, NotFound when one of the two is no principal, Denied
        when `by` does not hold the capability.
        """
        starts = request.starts_at or now
        if starts.tzinfo is None:
            raise Invalid(f"starts_at {starts.isoformat()} says no time zone: add Z or an offset.")
        if starts + timedelta(seconds=request.seconds) <= now:
            raise Invalid("The delegation would be over before it begins. Begin later, or let it last longer.")
        if request.to == by:
            raise Invalid(f"{by!r} cannot delegate to themselves.")
        held = await self._held_by(by)
        await self._held_by(request.to)
        if request.capability not in held:
            raise Denied(f"{by!r} does not hold {request.capability!r} and cannot delegate it.")
        return DelegationProof(
            id=uuid.uuid4().hex,
            capability=request.capability,
            delegator=by,
            delegate=request.to,
            reason=request.reason,
            starts_at=starts,
            ends_at=starts + timedelta(seconds=request.seconds),
        )

    async def give(self, prepared: DelegationProof, *, token: str, now: datetime) -> Delegation:
        """Lend what `prepare` returned. token: the delegator's attestation of its terms."""
        values = prepared.model_dump(include={"capability", "delegator", "delegate", "reason"})
        times = {"starts_at": prepared.starts_at, "ends_at": prepared.ends_at, "created_at": now}
        proof = {"tenant_id": self.tenant, "id": prepared.id, "attestation": func.attestation_use(token)}
        await self.connection.execute(insert(delegations).values(**proof, **times, **values))
        given = await self.get(prepared.id)
        data = {"delegation": given.id, **values, "ends_at": given.ends_at.isoformat()}
        await self._publish("approval.events", "delegation.given", None, data)
        return given

    async def get(self, delegation: str) -> Delegation:
        """Return a delegation. Raises NotFound."""
        row = await self._first(select(delegations, _STATE).where(delegations.c.id == delegation))
        if row is None:
            raise NotFound(f"There is no delegation {delegation!r}.", delegation=delegation)
        return from_row(Delegation, row)

    async def list(self, of: str | None = None, cursor: str | None = None, limit: int = 50) -> Page[Delegation]:
        """Return a page, newest first. of: only those that this principal gave or received."""
        query = select(delegations, _STATE)
        if of:
            query = query.where(or_(delegations.c.delegator == of, delegations.c.delegate == of))
        keys = (delegations.c.created_at, delegations.c.id)
        return await read_page(self.connection, query, keys, partial(from_row, Delegation), cursor=cursor, limit=limit)

    async def revoke(self, delegation: str, *, by: str, token: str, now: datetime) -> Delegation:
        """Revoke a delegation. Decisions that used it stay. Idempotent. token: the attestation. Raises NotFound."""
        taken = await self.connection.execute(
            update(delegations)
            .where((delegations.c.id == delegation) & delegations.c.revoked_at.is_(None))
            .values(revoked_at=now, revoked_by=by, revocation=func.attestation_use(token))
        )
        known = await self.get(delegation)
        if not taken.rowcount:
            return known
        data = {"delegation": delegation, "by": by, "delegator": known.delegator, "delegate": known.delegate}
        await self._publish("approval.events", "delegation.revoked", None, data)
        return known

    async def lent_capabilities(self, to: str, now: datetime, *, owner: str | None = None) -> dict[str, frozenset[str]]:
        """Return the capabilities that `to` may use now, by owner: lent now by attestation, and held by the owner now.

        A capability that the owner was lent itself does not count, nor does one of a suspended owner. The rows stay
        locked, so that none is revoked between this query and the decision that depends on it.
        """
        await self.connection.execute(LOCK_DELEGATORS, {"delegate": to})
        holds = (delegations.c.capability == principals.c.capabilities.any_()) & (principals.c.state == "active")
        query = (
            select(delegations)
            .join(principals, principals.c.subject == delegations.c.delegator)
            .where(is_open(now) & holds & (delegations.c.delegate == to))
            .order_by(delegations.c.delegator, delegations.c.capability)
            .with_for_update(read=True, of=delegations)
        )
        if owner is not None:
            query = query.where(delegations.c.delegator == owner)
        found: dict[str, set[str]] = {}
        for row in await self.proved(await self._all(query)):
            found.setdefault(row.delegator, set()).add(row.capability)
        return {name: frozenset(capabilities) for name, capabilities in found.items()}

    async def proved(self, rows: Sequence[Row[Any]]) -> tuple[DelegationProof, ...]:
        """Return the delegations of these rows that their delegators attested."""
        found = []
        for row in rows:
            attested = await Attestations(self.connection, self.tenant).of(row.id)
            proof = from_row(DelegationProof, row, attestations=attested)
            try:
                check_delegation(self.tokens, self.tenant, proof)
            except SomaError as error:
                log.warning("delegation.not_proved", delegation=proof.id, by=proof.delegator, problem=error.message)
            else:
                found.append(proof)
        return tuple(found)

    async def _held_by(self, subject: str) -> frozenset[str]:
        query = select(principals.c.capabilities).where(
            (principals.c.subject == subject) & (principals.c.state != "revoked")
        )
        row = await self._first(query)
        if row is None:
            raise NotFound(f"There is no principal {subject!r} in this tenant.", subject=subject)
        return frozenset(row.capabilities)


def is_open(now: datetime) -> ColumnElement[bool]:
    """Return the condition that a delegation can be used now."""
    return delegations.c.revoked_at.is_(None) & (delegations.c.starts_at <= now) & (delegations.c.ends_at > now)
