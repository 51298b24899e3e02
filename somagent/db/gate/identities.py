"""Identities: what the database says about a credential, in one call."""

import json
from typing import Any

from capsules.names import TenantId
from somagent.db.database import Database


async def resolve_identity(  # noqa: PLR0913 - what a credential names
    db: Database, tenant: TenantId, *, subject: str | None, family: str | None, key: str | None, key_hash: str | None
) -> dict[str, Any]:
    """Return the records of tenant, principal, token family and API key as JSON, each None if there is none.

    They are unchecked: their proofs say whether this installation wrote them. Raises Unavailable.
    """
    answer = await db.call("SELECT identity_resolve($1, $2, $3, $4, $5)", tenant, subject, family, key, key_hash)
    found: dict[str, Any] = json.loads(answer)
    return found
