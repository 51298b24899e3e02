"""Tenants, their principals, and the hashes of the principals' API keys; a key itself is never stored."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncEngine

from capsules.errors import Invalid
from capsules.identity.principal import Principal
from somagent.db.errors import translate_errors
from somagent.db.repositories.repository import Repository
from somagent.db.schema.tables import api_keys, principals, tenants


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
        async with translate_errors(), self.engine.connect() as connection:
            return tuple((await connection.scalars(select(tenants.c.id).order_by(tenants.c.id))).all())

    async def add(self, tenant: str) -> None:
        """Add a tenant. Idempotent. Needs the owner's role."""
        async with translate_errors(), self.engine.begin() as connection:
            await connection.execute(insert(tenants).values(id=tenant).on_conflict_do_nothing())


class Principals(Repository):
    """The principals of one tenant."""

    async def add(self, principal: Principal, key_hash: str | None = None) -> None:
        """Add a principal, or replace its capabilities. key_hash: the hash of one more API key.

        Raises Invalid for a principal of another tenant.
        """
        if principal.tenant != self.tenant:
            raise Invalid(f"Principal {principal.subject!r} is of tenant {principal.tenant!r}, not {self.tenant!r}.")
        values = {"tenant_id": self.tenant, "subject": principal.subject}
        capabilities = sorted(principal.capabilities)
        await self.connection.execute(
            insert(principals)
            .values(**values, capabilities=capabilities)
            .on_conflict_do_update(
                index_elements=[principals.c.tenant_id, principals.c.subject], set_={"capabilities": capabilities}
            )
        )
        if key_hash is not None:
            await self.connection.execute(insert(api_keys).values(**values, hash=key_hash).on_conflict_do_nothing())

    async def by_key_hash(self, key_hash: str) -> Principal | None:
        """Return the principal of an API key; None for an unknown or revoked key."""
        key = (api_keys.c.tenant_id == principals.c.tenant_id) & (api_keys.c.subject == principals.c.subject)
        query = select(principals).join(api_keys, key)
        query = query.where((api_keys.c.hash == key_hash) & api_keys.c.revoked_at.is_(None))
        row = await self._first(query)
        return None if row is None else _principal(row)

    async def list(self) -> tuple[Principal, ...]:
        """Return every principal, by subject."""
        rows = await self._all(select(principals).order_by(principals.c.subject))
        return tuple(_principal(row) for row in rows)


def _principal(row: Row[Any]) -> Principal:
    return Principal(tenant=row.tenant_id, subject=row.subject, capabilities=frozenset(row.capabilities))
