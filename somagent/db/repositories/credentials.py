"""API keys, of which only hashes are stored, and token families: open, list, renew and end them."""

import json
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Any, Literal

from sqlalchemy import Row, case, func, select, text

from capsules.base_model import Page
from capsules.errors import NotFound
from capsules.identity.records import ApiKeyClaims, ApiKeyRecord, KeyConfirmation, TokenFamily
from somagent.db.pages import read_page
from somagent.db.repositories.repository import Repository
from somagent.db.schema.tables import api_keys, from_row, token_families

Renewal = Literal["renewed", "reused", "revoked", "expired", "unknown"]

ADD_KEY = text(
    "SELECT key_add(:id, :hash, :subject, :capabilities, to_timestamp(CAST(:expires_at AS double precision)), "
    "CAST(CAST(:confirmation AS text) AS jsonb), :proof)"
)
END_KEY = text("SELECT key_end(:key, :by, :reason, :seconds)")
SIGN_KEY = text("SELECT key_sign(:key, :proof)")
OPEN = text(
    "SELECT family_open(:id, :subject, :capabilities, :parent, :key, :client, "
    "CAST(CAST(:confirmation AS text) AS jsonb), :expires_at)"
)
RENEW = text("SELECT family_renew(:family, :generation)")
END = text("SELECT family_end(:family, :by, :reason)")
END_ALL = text("SELECT credentials_end(:subject, :by, :reason)")


def _state(table: Any) -> Any:  # noqa: ANN401 - a table and an expression of SQLAlchemy
    return case(
        (table.c.revoked_at.is_not(None), "revoked"), (table.c.expires_at <= func.now(), "ended"), else_="active"
    ).label("state")


class ApiKeys(Repository):
    """The API keys of one tenant."""

    async def add(self, claims: ApiKeyClaims, *, proof: str) -> ApiKeyRecord:
        """Add a key of an active principal. Raises Conflict when the principal is not active."""
        values = claims.model_dump(include={"id", "hash", "subject", "expires_at"}) | {
            "capabilities": _sorted(claims.capabilities),
            "confirmation": _json(claims.confirmation),
            "proof": proof,
        }
        await self.connection.execute(ADD_KEY, values)
        return await self.get(claims.id)

    async def get(self, key: str) -> ApiKeyRecord:
        """Return a key. Raises NotFound."""
        row = await self._first(select(api_keys, _state(api_keys)).where(api_keys.c.id == key))
        if row is None:
            raise NotFound(f"There is no API key {key!r}.", key=key)
        return _key(row)

    async def page(self, subject: str | None = None, cursor: str | None = None, limit: int = 50) -> Page[ApiKeyRecord]:
        """Return a page, newest first. subject: only the keys of this principal."""
        query = select(api_keys, _state(api_keys))
        if subject:
            query = query.where(api_keys.c.subject == subject)
        keys = (api_keys.c.created_at, api_keys.c.id)
        return await read_page(self.connection, query, keys, _key, cursor=cursor, limit=limit)

    async def end(self, key: str, *, by: str, reason: str, seconds: int = 0) -> ApiKeyRecord:
        """Revoke a key and the families that it opened, or let them end in so many seconds. Raises NotFound."""
        values = {"key": key, "by": by, "reason": reason, "seconds": seconds}
        await self.connection.execute(END_KEY, values)
        return await self.get(key)

    async def sign_old(self, sign: Callable[[ApiKeyClaims], str]) -> None:
        """Sign the records of keys from before proofs."""
        for row in await self._all(select(api_keys).where(api_keys.c.proof.is_(None))):
            claims = ApiKeyClaims(
                tenant=self.tenant,
                id=row.id,
                hash=row.hash,
                subject=row.subject,
                capabilities=None,
                expires_at=None,
                confirmation=None,
            )
            await self.connection.execute(SIGN_KEY, {"key": row.id, "proof": sign(claims)})


class TokenFamilies(Repository):
    """The token families of one tenant."""

    async def open(  # noqa: PLR0913 - the columns of a family
        self,
        family: str,
        subject: str,
        *,
        client: str,
        expires_at: datetime,
        capabilities: frozenset[str] | None = None,
        parent: str | None = None,
        key: str | None = None,
        confirmation: KeyConfirmation | None = None,
    ) -> datetime:
        """Open a family and return when it ends: no later than its parent or its key.

        Raises Conflict when the principal is not active, or the parent or the key has ended.
        """
        values = {
            "id": family,
            "subject": subject,
            "capabilities": _sorted(capabilities),
            "parent": parent,
            "key": key,
            "client": client,
            "confirmation": _json(confirmation),
            "expires_at": expires_at,
        }
        ends: datetime = (await self.connection.execute(OPEN, values)).scalar_one()
        return ends

    async def renew(self, family: str, generation: int) -> Renewal:
        """Take the refresh token of a generation. One that was taken before ends the family."""
        values = {"family": family, "generation": generation}
        renewal: Renewal = (await self.connection.execute(RENEW, values)).scalar_one()
        return renewal

    async def get(self, family: str) -> TokenFamily:
        """Return a family. Raises NotFound."""
        query = select(token_families, _state(token_families)).where(token_families.c.id == family)
        row = await self._first(query)
        if row is None:
            raise NotFound(f"There is no token family {family!r}.", family=family)
        return from_row(TokenFamily, row)

    async def page(self, subject: str | None = None, cursor: str | None = None, limit: int = 50) -> Page[TokenFamily]:
        """Return a page, newest first. subject: only the families of this principal."""
        query = select(token_families, _state(token_families))
        if subject:
            query = query.where(token_families.c.subject == subject)
        keys = (token_families.c.created_at, token_families.c.id)
        return await read_page(self.connection, query, keys, partial(from_row, TokenFamily), cursor=cursor, limit=limit)

    async def end(self, family: str, *, by: str, reason: str) -> TokenFamily:
        """Revoke a family and all that were opened from it. Idempotent. Raises NotFound."""
        await self.connection.execute(END, {"family": family, "by": by, "reason": reason})
        return await self.get(family)

    async def end_client(self, subject: str, client: str, *, by: str, reason: str) -> None:
        """Revoke the families of a principal that were opened under this name."""
        named = (token_families.c.subject == subject) & (token_families.c.client == client)
        for row in await self._all(select(token_families.c.id).where(named & token_families.c.revoked_at.is_(None))):
            await self.connection.execute(END, {"family": row.id, "by": by, "reason": reason})

    async def end_all(self, subject: str | None, *, by: str, reason: str) -> int:
        """Revoke every key and family of a principal, or of the tenant for None. Return how many."""
        values = {"subject": subject, "by": by, "reason": reason}
        ended: int = (await self.connection.execute(END_ALL, values)).scalar_one()
        return ended


def _sorted(capabilities: frozenset[str] | None) -> list[str] | None:
    return None if capabilities is None else sorted(capabilities)


def _json(confirmation: KeyConfirmation | None) -> str | None:
    return None if confirmation is None else json.dumps(confirmation.model_dump())


def _key(row: Row[Any]) -> ApiKeyRecord:
    return from_row(ApiKeyRecord, row)
