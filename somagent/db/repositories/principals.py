"""Tenants and their principals. A principal is written with a signed proof, without which no caller is let in as it."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from sqlalchemy import select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncEngine

from capsules.base_model import Page
from capsules.errors import Invalid, NotFound
from capsules.identity.principal import Principal
from capsules.identity.records import IdentityState, PrincipalClaims, PrincipalRecord, TenantClaims, TenantRecord
from somagent.db.errors import begin, translate_errors
from somagent.db.pages import read_page
from somagent.db.repositories.repository import Repository
from somagent.db.schema.tables import from_row, principals, tenants

PUT_PRINCIPAL = text("SELECT principal_put(:subject, :capabilities, :state, :version, :proof, :by)")
PUT_TENANT = text("SELECT tenant_put(:tenant, :state, :version, :proof, :by)")


@dataclass(frozen=True)
class Tenants:
    """All tenants. Every role can read them; only the owner of the database adds one."""

    engine: AsyncEngine

    async def exists(self, tenant: str) -> bool:
        """Return whether a tenant is known."""
        async with translate_errors(), self.engine.connect() as connection:
            return (await connection.scalar(select(tenants.c.id).where(tenants.c.id == tenant))) is not None

    async def list(self) -> tuple[str, ...]:
        """Return the ids of all tenants, sorted."""
        return tuple(one.id for one in await self.records())

    async def records(self) -> tuple[TenantRecord, ...]:
        """Return every tenant with its state, by id."""
        async with translate_errors(), self.engine.connect() as connection:
            rows = (await connection.execute(select(tenants).order_by(tenants.c.id))).all()
        return tuple(from_row(TenantRecord, row) for row in rows)

    async def get(self, tenant: str) -> TenantRecord:
        """Return a tenant. Raises NotFound."""
        async with translate_errors(), self.engine.connect() as connection:
            row = (await connection.execute(select(tenants).where(tenants.c.id == tenant))).first()
        if row is None:
            raise NotFound(f"There is no tenant {tenant!r}.", tenant=tenant)
        return from_row(TenantRecord, row)

    async def add(self, tenant: str) -> None:
        """Add a tenant. Idempotent. Needs the owner's role."""
        async with translate_errors(), self.engine.begin() as connection:
            await connection.execute(insert(tenants).values(id=tenant).on_conflict_do_nothing())

    async def set_state(
        self, tenant: str, state: IdentityState, *, by: str, sign: Callable[[TenantClaims], str]
    ) -> TenantRecord:
        """Change the state of a tenant. The same state again changes nothing. Raises NotFound, Conflict if revoked."""
        known = await self.get(tenant)
        if known.state != state:
            claims = TenantClaims(tenant=tenant, state=state, version=known.version + 1)
            values = {"tenant": tenant, "state": state, "version": claims.version, "proof": sign(claims), "by": by}
            async with begin(self.engine) as connection:
                await connection.execute(PUT_TENANT, values)
        return await self.get(tenant)


class Principals(Repository):
    """The principals of one tenant."""

    async def add(self, principal: Principal, *, sign: Callable[[PrincipalClaims], str] | None = None) -> None:
        """Add an active principal, or replace its capabilities; what is so already is left.

        sign: signs the record. Without it the principal exists and can be named, but not call. Raises Invalid for a
        principal of another tenant, Conflict for a revoked one.
        """
        if principal.tenant != self.tenant:
            raise Invalid(f"Principal {principal.subject!r} is of tenant {principal.tenant!r}, not {self.tenant!r}.")
        row = await self._first(select(principals).where(principals.c.subject == principal.subject))
        if row and (frozenset(row.capabilities) == principal.capabilities) and (row.proof or sign is None):
            return
        state: IdentityState = row.state if row else "active"
        await self._put(principal, state, row.version + 1 if row else 1, "", sign)

    async def set_state(
        self, subject: str, state: IdentityState, *, by: str, sign: Callable[[PrincipalClaims], str]
    ) -> PrincipalRecord:
        """Change the state of a principal. The same state again changes nothing.

        A revoked principal loses its keys and tokens for ever. Raises NotFound, or Conflict when it is revoked.
        """
        known = await self.get(subject)
        if known.state != state:
            await self._put(known, state, known.version + 1, by, sign)
        return await self.get(subject)

    async def get(self, subject: str) -> PrincipalRecord:
        """Return a principal. Raises NotFound."""
        row = await self._first(select(principals).where(principals.c.subject == subject))
        if row is None:
            raise NotFound(f"There is no principal {subject!r} in this tenant.", subject=subject)
        return from_row(PrincipalRecord, row, tenant=row.tenant_id)

    async def find(self, subject: str) -> PrincipalRecord | None:
        """Return a principal, or None."""
        try:
            return await self.get(subject)
        except NotFound:
            return None

    async def list(self) -> tuple[PrincipalRecord, ...]:
        """Return every principal, by subject."""
        rows = await self._all(select(principals).order_by(principals.c.subject))
        return tuple(from_row(PrincipalRecord, row, tenant=row.tenant_id) for row in rows)

    async def page(self, cursor: str | None = None, limit: int = 50) -> Page[PrincipalRecord]:
        """Return a page, newest first."""
        keys = (principals.c.created_at, principals.c.subject)
        record = partial(from_row, PrincipalRecord, tenant=self.tenant)
        return await read_page(self.connection, select(principals), keys, record, cursor=cursor, limit=limit)

    async def unsigned(self) -> tuple[PrincipalRecord, ...]:
        """Return the principals from before proofs."""
        rows = await self._all(select(principals).where(principals.c.proof.is_(None)))
        return tuple(from_row(PrincipalRecord, row, tenant=row.tenant_id) for row in rows)

    async def sign(self, known: PrincipalRecord, sign: Callable[[PrincipalClaims], str]) -> None:
        """Write the next version of a principal, unchanged, with a proof. Raises Conflict when it changed meanwhile."""
        await self._put(known, known.state, known.version + 1, "", sign)

    async def _put(
        self,
        principal: Principal,
        state: IdentityState,
        version: int,
        by: str,
        sign: Callable[[PrincipalClaims], str] | None,
    ) -> None:
        claims = PrincipalClaims(
            tenant=self.tenant,
            subject=principal.subject,
            capabilities=principal.capabilities,
            state=state,
            version=version,
        )
        values = {
            "subject": claims.subject,
            "capabilities": sorted(claims.capabilities),
            "state": state,
            "version": version,
            "proof": sign(claims) if sign else "",
            "by": by,
        }
        await self.connection.execute(PUT_PRINCIPAL, values)
