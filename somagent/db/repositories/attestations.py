"""Attestations: the signed tokens of people's decisions, each recorded once in the transaction of its decision."""

from datetime import datetime

from pydantic import Field
from sqlalchemy import func, select

from capsules.base_model import FrozenModel
from capsules.digest import Digest
from somagent.db.pages import check_limit
from somagent.db.repositories.repository import Repository
from somagent.db.schema.tables import attestations, from_row
from somagent.identity.proofs import RecordedAttestation


class AttestationRecord(FrozenModel):
    """A recorded attestation, for an auditor who verifies it with the issuer's public keys."""

    number: int = Field(description="Position in the list.")
    id: str
    digest: Digest
    token: str
    used_at: datetime


class Attestations(Repository):
    """The attestations of one tenant."""

    async def use(self, token: str) -> Digest:
        """Record a token whose signature was verified, and return its digest; the same token again is a retry.

        Raises Conflict for one that has expired, is of another tenant, or was used for another decision.
        """
        return Digest(str(await self.connection.scalar(select(func.attestation_use(token)))))

    async def of(self, *records: str) -> tuple[RecordedAttestation, ...]:
        """Return the attestations about these records, oldest first."""
        query = select(attestations).where(attestations.c.record.in_(records)).order_by(attestations.c.number)
        return tuple(from_row(RecordedAttestation, row) for row in await self._all(query))

    async def after(self, number: int = 0, limit: int = 500) -> tuple[AttestationRecord, ...]:
        """Return attestations after a number, in order."""
        query = select(attestations).where(attestations.c.number > number)
        rows = await self._all(query.order_by(attestations.c.number).limit(check_limit(limit)))
        return tuple(from_row(AttestationRecord, row) for row in rows)
